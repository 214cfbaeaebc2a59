//! What the values mean in our words. What has no equal is left out and told: a rule that loses all of its
//! destinations or ports is none, never one for all of them.

use std::net::IpAddr;

use super::{
    Chart, Imported, Note, Wish,
    chart::{Flag, Peer, Port, Protocol, Rule, Said, Values},
};
use crate::policy::{
    rule::Net,
    write::{WrittenRule, comment, head, rule},
};

/// RFC 1918, which is what the chart calls private.
const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const DNS: (u16, u16) = (53, 53);
const ALL: (u16, u16) = (0, u16::MAX);

/// A protocol, if it is not all, and ranges of its ports; none: all.
type PortsOf = (Option<&'static str>, Vec<(u16, u16)>);

/// Writes the policy.
pub(super) fn written(values: &Values, file: &str, wish: &Wish<'_>) -> Imported {
    let mut writer = Writer {
        wish,
        presets: Vec::new(),
        rules: Vec::new(),
        no_equal: Vec::new(),
        differs: Vec::new(),
    };
    if values.enabled.value {
        writer.flags(values);
        values.egress.iter().for_each(|rule| writer.egress(rule));
        writer.block(values);
    } else {
        let why = "without a network policy the chart lets guests reach everything, also private networks; a policy \
                   that opens nothing is written: give it presets = [\"public-internet\"] if that is enough";
        writer.no_equal(&values.enabled.path, values.enabled.line, why);
    }
    for said in &values.inward {
        writer.no_equal(&said.path, said.line, said.value);
    }
    writer.finish(file)
}

struct Writer<'a> {
    wish: &'a Wish<'a>,
    presets: Vec<&'static str>,
    rules: Vec<WrittenRule>,
    no_equal: Vec<Note>,
    differs: Vec<Note>,
}

impl Writer<'_> {
    fn no_equal(&mut self, path: &str, line: Option<usize>, why: &str) {
        self.no_equal.push(Note { path: path.to_owned(), line, why: why.to_owned() });
    }

    fn flags(&mut self, values: &Values) {
        let metadata = values.metadata.value;
        for (flag, said) in values.flags.iter().filter(|(_, said)| said.value) {
            match flag {
                Flag::NonPrivateIps => self.public(said, metadata),
                Flag::PrivateIps => {
                    let to = PRIVATE.map(str::to_owned).to_vec();
                    self.allow(said, to, None, &[]);
                }
                Flag::CloudMetadataServer if values.block.value => self.beaten(said, &values.block),
                Flag::CloudMetadataServer => {
                    self.allow(said, vec![metadata.to_string()], None, &[]);
                }
                _ => self.dns(*flag, said, values),
            }
        }
        if self.wish.chart == Chart::One {
            let path = values.enabled.path.replace("enabled", "egress");
            let said = Said { value: true, path, line: None };
            self.names(&said, vec!["any".to_owned()]);
        }
    }

    /// `nonPrivateIPs`.
    fn public(&mut self, said: &Said<bool>, metadata: IpAddr) {
        let metadata = Net::host(metadata);
        let well_known =
            ["169.254.0.0/16", "fd00::/8", "168.63.129.16/32", "100.64.0.0/10", "192.0.0.0/24"];
        let is_left_out = |text: &&str| text.parse::<Net>().is_ok_and(|net| net.covers(&metadata));
        if well_known.iter().any(is_left_out) {
            self.presets.push("public-internet");
            let why = "preset public-internet is meant: it leaves out carrier-grade NAT, link-local, multicast and every \
                       known metadata service, too, and has public IPv6 addresses, which the chart never opens";
            self.differs.push(Note {
                path: said.path.clone(),
                line: said.line,
                why: why.to_owned(),
            });
            return;
        }
        let private = PRIVATE.iter().filter_map(|text| text.parse().ok());
        let except: Vec<Net> = private.chain([metadata]).collect();
        let all: Vec<Net> = "0.0.0.0/0".parse().into_iter().collect();
        let to = all.iter().flat_map(|all| without(all, &except));
        self.allow(said, to.map(|net| net.to_string()).collect(), None, &[]);
    }

    fn dns(&mut self, flag: Flag, said: &Said<bool>, values: &Values) {
        match flag {
            Flag::DnsPortsPrivateIps => self.names(said, PRIVATE.map(str::to_owned).to_vec()),
            Flag::DnsPortsCloudMetadataServer if values.block.value => {
                self.beaten(said, &values.block);
            }
            Flag::DnsPortsCloudMetadataServer => {
                self.names(said, vec![values.metadata.value.to_string()]);
            }
            _ if self.wish.has_dns => self.preset_dns(said),
            _ => {
                let why = "there is no cluster whose name servers guests could ask";
                self.no_equal(&said.path, said.line, why);
            }
        }
    }

    /// Name servers at these addresses.
    fn names(&mut self, said: &Said<bool>, to: Vec<String>) {
        self.allow(said, to, Some("any"), &[DNS]);
        if self.wish.has_dns {
            if let Some(rule) = self.rules.last_mut() {
                rule.is_comment = true;
                rule.comments
                    .push("Needed only if guests ask these name servers themselves:".to_owned());
            }
            self.preset_dns(said);
        }
    }

    fn preset_dns(&mut self, said: &Said<bool>) {
        if !self.presets.contains(&"dns") {
            self.presets.push("dns");
        }
        let why =
            "preset dns is meant: guests ask this host's resolver, which asks others for them";
        self.differs.push(Note { path: said.path.clone(), line: said.line, why: why.to_owned() });
    }

    /// What `blockWithIptables` closes again.
    fn beaten(&mut self, said: &Said<bool>, block: &Said<bool>) {
        let why = format!(
            "`{}` closes that address, and a denial beats every permission; make it false to open it",
            block.path
        );
        self.no_equal(&said.path, said.line, &why);
    }

    fn block(&mut self, values: &Values) {
        if values.block.value {
            self.rules.push(WrittenRule {
                comments: vec![values.block.path.clone()],
                action: "deny",
                to: vec![values.metadata.value.to_string()],
                ..WrittenRule::default()
            });
        }
    }

    fn allow(
        &mut self,
        said: &Said<bool>,
        to: Vec<String>,
        protocol: Option<&'static str>,
        ports: &[(u16, u16)],
    ) {
        let comments = vec![said.path.clone()];
        let ports = ports.to_vec();
        self.rules.push(WrittenRule {
            comments,
            action: "allow",
            to,
            protocol,
            ports,
            is_comment: false,
        });
    }

    fn egress(&mut self, rule: &Rule) {
        let (Some(to), Some(ports)) = (self.destinations(rule), self.ports(rule)) else { return };
        for (protocol, ports) in ports {
            self.rules.push(WrittenRule {
                comments: vec![rule.path.clone()],
                action: "allow",
                to: to.clone(),
                protocol,
                ports,
                is_comment: false,
            });
        }
    }

    /// `None`: nothing of it has an equal.
    fn destinations(&mut self, rule: &Rule) -> Option<Vec<String>> {
        let Some(peers) = &rule.to else { return Some(vec!["any".to_owned()]) };
        let mut to = Vec::new();
        for Said { value, path, line } in peers {
            match value {
                Peer::Block { cidr, except } => {
                    let nets = without(cidr, except);
                    to.extend(nets.iter().map(ToString::to_string));
                }
                Peer::Selected => {
                    let why = "pods and namespaces are not on this host; name addresses, or make the container a hub of \
                               its guest network";
                    self.no_equal(path, *line, why);
                }
            }
        }
        (!to.is_empty()).then_some(to)
    }

    /// Protocols and ports, a rule for each; `None`: nothing of it has an equal.
    fn ports(&mut self, rule: &Rule) -> Option<Vec<PortsOf>> {
        let Some(ports) = &rule.ports else { return Some(vec![(None, Vec::new())]) };
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for Said { value, path, line } in ports {
            match value {
                Port::Numbers { protocol: Protocol::Tcp, first, last } => tcp.push((*first, *last)),
                Port::Numbers { protocol: Protocol::Udp, first, last } => udp.push((*first, *last)),
                Port::Numbers { protocol: Protocol::Sctp, .. } => {
                    self.no_equal(path, *line, "SCTP is denied always");
                }
                Port::Named(name) => {
                    let why =
                        format!("\"{name}\" is a name that a pod has for a port; write its number");
                    self.no_equal(path, *line, &why);
                }
            }
        }
        let both = [("tcp", tcp), ("udp", udp)];
        let mut found: Vec<PortsOf> = both
            .into_iter()
            .filter(|(_, ranges)| !ranges.is_empty())
            .map(|(protocol, ranges)| {
                let ranges = if ranges.contains(&ALL) { Vec::new() } else { ranges };
                (Some(protocol), ranges)
            })
            .collect();
        if let [(_, tcp), (_, udp)] = found.as_slice()
            && tcp == udp
            && !tcp.is_empty()
        {
            found = vec![(Some("any"), tcp.clone())];
        }
        (!found.is_empty()).then_some(found)
    }

    fn finish(self, file: &str) -> Imported {
        let Self { wish, presets, rules, no_equal, differs } = self;
        let mut lines = vec![
            comment(&format!(
                "From {file}, a values file of zero-to-jupyterhub. Read it before use."
            )),
            comment(
                "Hubs are not in it: write each as [[networks.NAME.hub]]. The chart lets guests reach the hub at port",
            ),
            comment(
                "8081 and the proxy at 8000. No address below means this host or a guest network.",
            ),
        ];
        for (title, notes) in
            [("No equal, and not in here:", &no_equal), ("Meant otherwise:", &differs)]
        {
            if !notes.is_empty() {
                lines.push(comment(title));
                let line = |note: &Note| comment(&format!("  {}: {}", note.path, note.why));
                lines.extend(notes.iter().map(line));
            }
        }
        let mut toml = lines.join("\n") + "\n" + &head(wish.policy);
        if !presets.is_empty() {
            let quoted: Vec<String> =
                presets.iter().map(|preset| format!("\"{preset}\"")).collect();
            toml.extend(["presets = [", &quoted.join(", "), "]\n"]);
        }
        toml.extend(rules.iter().map(|written| rule(wish.policy, written)));
        Imported { toml, no_equal, differs }
    }
}

/// The fewest networks that are one without others, in order.
fn without(net: &Net, except: &[Net]) -> Vec<Net> {
    if except.iter().any(|except| except.covers(net)) {
        return Vec::new();
    }
    match net.halves() {
        Some(halves) if except.iter().any(|except| net.covers(except)) => {
            halves.iter().flat_map(|half| without(half, except)).collect()
        }
        _ => vec![*net],
    }
}
