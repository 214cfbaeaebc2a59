//! The chart's values, checked: every key is one that the chart has, every value one that it takes.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Chart, Problem, Wish,
    chart::{Flag, Peer, Port, Protocol, Rule, Said, Values},
    yaml::{Node, Value},
};
use crate::policy::rule::{Net, NetError};

/// Where clouds have their metadata service, unless the file says otherwise.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Reads them.
pub(super) fn read(root: &Node, wish: &Wish<'_>) -> Result<Values, Vec<Problem>> {
    let (singleuser, path) = find(root, wish.at).map_err(|problem| vec![problem])?;
    let mut reader = Reader { chart: wish.chart, problems: Vec::new() };
    let values = reader.values(singleuser, &path);
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() { Ok(values) } else { Err(reader.problems) }
}

/// The chart's `singleuser`: at the top, or below the names of charts that have this one as a part.
fn find<'a>(root: &'a Node, at: Option<&str>) -> Result<(&'a Node, String), Problem> {
    const WHERE: &str = "name its place with --at, such as --at jupyterhub.singleuser";
    let mut found = Vec::new();
    search(root, "", &mut found);
    if let Some(at) = at {
        let is_it = |(_, path): &(&Node, String)| path == at;
        let missing = || Problem::new(1, format!("there is no `{at}` in this file"));
        return found.into_iter().find(is_it).ok_or_else(missing);
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let message = format!("there is no `singleuser` in this file; {WHERE}");
            Err(Problem::new(1, message))
        }
        (Some((_, one)), Some((other, path))) => {
            let message = format!("`{one}` and `{path}` may both be meant; {WHERE}");
            Err(Problem::new(other.line, message))
        }
    }
}

fn search<'a>(node: &'a Node, path: &str, found: &mut Vec<(&'a Node, String)>) {
    for (key, value) in node.entries() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let is_map = matches!(value.value, Value::Map(_));
        if key == "singleuser" && (is_map || value.is_null()) {
            found.push((value, path));
        } else {
            search(value, &path, found);
        }
    }
}

struct Reader {
    chart: Chart,
    problems: Vec<Problem>,
}

impl Reader {
    fn values(&mut self, singleuser: &Node, path: &str) -> Values {
        if let Some(merged) = singleuser.get("<<") {
            let message = "`<<` is not understood here; write out what it stands for";
            self.problems.push(Problem::new(merged.line, message));
        }
        let below = |key: &str| format!("{path}.{key}");
        let (at, metadata_at) = (below("networkPolicy"), below("cloudMetadata"));
        let policy = singleuser.get("networkPolicy");
        let mut known = vec![
            "enabled",
            "ingress",
            "egress",
            "interNamespaceAccessLabels",
            "allowedIngressPorts",
        ];
        if self.chart >= Chart::Two {
            known.push("egressAllowRules");
        }
        self.keys(policy, &at, &known);
        let get = |key: &str| policy.and_then(|policy| policy.get(key));
        let enabled = self.truth(get("enabled"), &format!("{at}.enabled"), true);
        let flags = self.flags(get("egressAllowRules"), &format!("{at}.egressAllowRules"));
        let mut egress = self.egress(get("egress"), &format!("{at}.egress"));
        let metadata = singleuser.get("cloudMetadata");
        self.keys(metadata, &metadata_at, &["blockWithIptables", "ip"]);
        let get_metadata = |key: &str| metadata.and_then(|metadata| metadata.get(key));
        let block = get_metadata("blockWithIptables");
        let block = self.truth(block, &format!("{metadata_at}.blockWithIptables"), true);
        let metadata = self.address(get_metadata("ip"), &format!("{metadata_at}.ip"));
        if self.chart == Chart::One && get("egress").is_none() {
            egress.push(everywhere_but(metadata.value, &at));
        }
        let inward = self.inward(policy, &at);
        Values { enabled, flags, egress, metadata, block, inward }
    }

    /// Notes keys that the chart does not have.
    fn keys(&mut self, node: Option<&Node>, path: &str, known: &[&str]) {
        let Some(node) = node.filter(|node| !node.is_null()) else { return };
        if !matches!(node.value, Value::Map(_)) || node.is_tagged {
            self.wrong(node, path, "is not a map of names");
        }
        for (key, value) in node.entries() {
            if !known.contains(&key.as_str()) {
                let message = format!(
                    "`{path}.{key}` is not known to this version of the chart; there are {}",
                    known.join(", ")
                );
                self.problems.push(Problem::new(value.line, message));
            }
        }
    }

    fn wrong(&mut self, node: &Node, path: &str, why: &str) {
        self.problems.push(Problem::new(node.line, format!("`{path}` {why}")));
    }

    fn truth(&mut self, node: Option<&Node>, path: &str, otherwise: bool) -> Said<bool> {
        let value = node.map(|node| match &node.value {
            // As the chart's own reader takes them.
            Value::Scalar(text, true) if !node.is_tagged => {
                match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => Some(true),
                    "false" | "no" | "off" => Some(false),
                    _ => None,
                }
            }
            _ => None,
        });
        if let (Some(node), Some(None)) = (node, value) {
            self.wrong(node, path, "is neither true nor false");
        }
        Said {
            value: value.flatten().unwrap_or(otherwise),
            path: path.to_owned(),
            line: node.map(|node| node.line),
        }
    }

    fn address(&mut self, node: Option<&Node>, path: &str) -> Said<IpAddr> {
        let value = node.map(|node| self.text(node, path).and_then(|text| text.parse().ok()));
        if let (Some(node), Some(None)) = (node, value) {
            self.wrong(node, path, "is no IP address");
        }
        Said {
            value: value.flatten().unwrap_or(METADATA),
            path: path.to_owned(),
            line: node.map(|node| node.line),
        }
    }

    fn text<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Scalar(text, _) if !node.is_tagged && !node.is_null() => Some(text),
            _ => {
                self.wrong(node, path, "is not a text");
                None
            }
        }
    }

    /// Items of a list, with their places; one that is nothing has none.
    fn items<'a>(&mut self, node: Option<&'a Node>, path: &str) -> Vec<(&'a Node, String)> {
        match node.map(|node| (node, &node.value)) {
            Some((node, Value::List(items))) if !node.is_tagged => {
                let place = |(index, item)| (item, format!("{path}[{index}]"));
                items.iter().enumerate().map(place).collect()
            }
            Some((node, _)) if !node.is_null() => {
                self.wrong(node, path, "is not a list");
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn flags(&mut self, node: Option<&Node>, path: &str) -> Vec<(Flag, Said<bool>)> {
        let chart = self.chart;
        let of_chart =
            || Flag::ALL.into_iter().filter_map(|flag| Some((flag, flag.default_of(chart)?)));
        let known: Vec<&str> = of_chart().map(|(flag, _)| flag.key()).collect();
        if chart >= Chart::Two {
            self.keys(node, path, &known);
        }
        let flag = |(flag, otherwise): (Flag, bool)| {
            let value = node.and_then(|node| node.get(flag.key()));
            (flag, self.truth(value, &format!("{path}.{}", flag.key()), otherwise))
        };
        of_chart().map(flag).collect()
    }

    fn egress(&mut self, node: Option<&Node>, path: &str) -> Vec<Rule> {
        let items = self.items(node, path);
        items.into_iter().map(|(node, path)| self.rule(node, path)).collect()
    }

    fn rule(&mut self, node: &Node, path: String) -> Rule {
        self.keys(Some(node), &path, &["to", "ports"]);
        if node.is_null() {
            // It would be a rule that opens everything.
            self.wrong(node, &path, "is empty; write {} if it is to open everything");
        }
        let to = self.items(node.get("to"), &format!("{path}.to"));
        let to: Vec<_> = to.into_iter().map(|(node, path)| self.peer(node, path)).collect();
        let ports = self.items(node.get("ports"), &format!("{path}.ports"));
        let ports: Vec<_> = ports.into_iter().map(|(node, path)| self.port(node, path)).collect();
        // An empty list says the same as none.
        let some = |count: usize| count > 0;
        Rule { path, to: some(to.len()).then_some(to), ports: some(ports.len()).then_some(ports) }
    }

    fn peer(&mut self, node: &Node, path: String) -> Said<Peer> {
        const SELECTORS: [&str; 2] = ["namespaceSelector", "podSelector"];
        self.keys(Some(node), &path, &["ipBlock", SELECTORS[0], SELECTORS[1]]);
        let selects = SELECTORS.iter().any(|key| node.get(key).is_some());
        let block = node.get("ipBlock");
        if selects == block.is_some() {
            self.wrong(node, &path, "has either `ipBlock` or selectors");
        }
        let value = match block.and_then(|block| self.block(block, &format!("{path}.ipBlock"))) {
            Some((cidr, except)) => Peer::Block { cidr, except },
            None => Peer::Selected,
        };
        Said { value, path, line: Some(node.line) }
    }

    fn block(&mut self, node: &Node, path: &str) -> Option<(Net, Vec<Net>)> {
        self.keys(Some(node), path, &["cidr", "except"]);
        let Some(cidr) = node.get("cidr") else {
            self.wrong(node, path, "has no `cidr`");
            return None;
        };
        let cidr = self.net(cidr, &format!("{path}.cidr"))?;
        let mut except = Vec::new();
        for (item, path) in self.items(node.get("except"), &format!("{path}.except")) {
            let net = self.net(item, &path)?;
            if !cidr.covers(&net) {
                self.wrong(item, &path, "is not within the cidr");
            }
            except.push(net);
        }
        Some((cidr, except))
    }

    fn net(&mut self, node: &Node, path: &str) -> Option<Net> {
        let text = self.text(node, path)?;
        let net = match text.parse::<Net>() {
            // Bits beyond the prefix mean nothing to Kubernetes.
            Ok(net) | Err(NetError::Host(net)) if text.contains('/') => Some(net),
            _ => None,
        };
        if net.is_none() {
            self.wrong(node, path, "is no network such as 192.0.2.0/24");
        }
        net
    }

    fn port(&mut self, node: &Node, path: String) -> Said<Port> {
        self.keys(Some(node), &path, &["port", "endPort", "protocol"]);
        if node.is_null() {
            self.wrong(node, &path, "is empty");
        }
        let protocol = node.get("protocol").map(|node| (node, self.text(node, &path)));
        let protocol = match protocol {
            None | Some((_, Some("TCP"))) => Protocol::Tcp,
            Some((_, Some("UDP"))) => Protocol::Udp,
            Some((_, Some("SCTP"))) => Protocol::Sctp,
            Some((node, _)) => {
                self.wrong(node, &path, "has a protocol that is not TCP, UDP or SCTP");
                Protocol::Tcp
            }
        };
        let (line, end) = (Some(node.line), node.get("endPort"));
        let value = match node.get("port").map(|node| (node, number(node))) {
            None => Port::Numbers { protocol, first: 0, last: u16::MAX },
            Some((node, None)) => {
                let name = self.text(node, &format!("{path}.port")).unwrap_or_default();
                if name.bytes().all(|byte| byte.is_ascii_digit()) {
                    self.wrong(node, &format!("{path}.port"), "is no port from 1 to 65535");
                }
                Port::Named(name.to_owned())
            }
            Some((_, Some(first))) => match end.map(|end| (end, number(end))) {
                None => Port::Numbers { protocol, first, last: first },
                Some((_, Some(last))) if last >= first => Port::Numbers { protocol, first, last },
                Some((end, _)) => {
                    self.wrong(end, &format!("{path}.endPort"), "is no port from `port` on");
                    Port::Numbers { protocol, first, last: first }
                }
            },
        };
        if let (Some(end), Port::Named(_) | Port::Numbers { first: 0, .. }) = (end, &value) {
            self.wrong(end, &format!("{path}.endPort"), "needs a number as `port`");
        }
        Said { value, path, line }
    }

    /// What lets others in beside the hub and the proxy.
    fn inward(&mut self, policy: Option<&Node>, at: &str) -> Vec<Said<&'static str>> {
        let mut found = Vec::new();
        for key in ["ingress", "allowedIngressPorts"] {
            let node = policy.and_then(|policy| policy.get(key));
            let items = self.items(node, &format!("{at}.{key}"));
            found.extend(items.into_iter().map(|(item, path)| Said {
                value: "who may open connections to a guest is not a policy's to say: this host, hubs and \
                        ports that Docker publishes may, nobody else",
                path,
                line: Some(item.line),
            }));
        }
        let path = format!("{at}.interNamespaceAccessLabels");
        if let Some(node) = policy.and_then(|policy| policy.get("interNamespaceAccessLabels")) {
            match self.text(node, &path) {
                Some("accept") => found.push(Said {
                    value: "there are no namespaces; a container that guests and others reach is a hub of its network",
                    path,
                    line: Some(node.line),
                }),
                Some("ignore") | None => {}
                Some(_) => self.wrong(node, &path, "is neither \"accept\" nor \"ignore\""),
            }
        }
        found
    }
}

/// What chart 1 opens where the file says nothing.
fn everywhere_but(metadata: IpAddr, at: &str) -> Rule {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let cidr = Net::host(any).first(0);
    let path = format!("{at}.egress");
    let peer = Peer::Block { cidr, except: vec![Net::host(metadata)] };
    let to = Some(vec![Said { value: peer, path: path.clone(), line: None }]);
    Rule { path, to, ports: None }
}

fn number(node: &Node) -> Option<u16> {
    match &node.value {
        Value::Scalar(text, true) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|port| *port > 0)
        }
        _ => None,
    }
}
