//! Twenty visitors at once, and whoever looks for what they must not send.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bollard::models::ContainerInspectResponse;
use enforcer_tests::{
    frames::{self, Ip, Ipv4, Mac, Tcp, ethertype, flag, protocol},
    harness::{
        client::Actor,
        netns::Beside,
        topology::{BRIDGE, GATEWAY, NETWORK, WORLD},
    },
    hex,
    protocol::{Captured, Capturing, Filter, Id, Request, Send, SendBy},
};
use serde_json::json;

use super::{
    site::{Site, address},
    visitors::{Arrived, Visitors},
};

/// How many.
pub const MANY: usize = 20;
/// Where they try to reach one another; nothing else uses it.
pub const PORT: u16 = 8899;
const TRESPASS: &str = include_str!("trespass.py");

/// A visitor's notebook.
pub struct Guest {
    /// Whom the hub takes the visitor for.
    pub user: String,
    /// Its container.
    pub container: String,
    /// Its address.
    pub ip: Ipv4Addr,
    mac: Mac,
    /// In its network namespace.
    pub beside: Beside,
}

/// All of them.
pub struct Party {
    /// Who sits before the notebooks, each with a kernel's websocket open.
    pub visitors: Visitors,
    /// The notebooks, in the same order.
    pub guests: Vec<Guest>,
    gateway_mac: Mac,
}

impl Party {
    /// They come at once, and each gets a kernel.
    pub fn gather(site: &Site) -> Result<Self> {
        let mut visitors = site.visitors(0)?;
        let arrived = visitors.arrive(MANY)?;
        visitors.open(MANY)?;
        let guests = arrived.iter().enumerate().map(|(who, arrived)| guest(site, who, arrived));
        let guests = guests.collect::<Result<_>>()?;
        let gateway_mac = site.base.host.actor.interface(BRIDGE)?.mac;
        Ok(Self { visitors, guests, gateway_mac })
    }

    /// Whom visitor `who` tries to reach: the next three.
    pub fn neighbours(&self, who: usize) -> impl Iterator<Item = &Guest> {
        (1..=3).filter_map(move |step| self.guests.get((who + step) % MANY))
    }

    /// A cell of visitor `who` that knows whom it must not reach, and the ways to call them.
    pub fn cell(&self, who: usize, code: &str) -> String {
        let neighbours: Vec<_> = self.neighbours(who).map(|guest| guest.ip.to_string()).collect();
        let all = [neighbours, vec![WORLD.to_string(), GATEWAY.to_string()]].concat();
        format!("TARGETS = {}\nPORT = {PORT}\n{TRESPASS}\n{code}", json!(all))
    }

    /// Sends frames to each of the neighbours as visitor `who`'s notebook could if it were its own kernel: a datagram and a
    /// SYN to the neighbour itself, and a datagram by way of the host. How many the kernel took.
    pub fn trespass(&self, who: usize) -> Result<u64> {
        let guest = self.guests.get(who).context("nobody")?;
        let mut frames = Vec::new();
        for to in self.neighbours(who) {
            let ip = |number| Ip::V4(Ipv4::new(guest.ip, to.ip, number));
            let datagram = frames::udp_packet(&ip(protocol::UDP), 40_000, PORT, b"trespass");
            let syn = Tcp::new(40_000, PORT, flag::SYN).packet(&ip(protocol::TCP), &[]);
            for (mac, packet) in
                [(to.mac, &datagram), (to.mac, &syn), (self.gateway_mac, &datagram)]
            {
                frames.push(hex::encode(&frames::ethernet(
                    mac,
                    guest.mac,
                    ethertype::IPV4,
                    packet,
                )));
            }
        }
        let sent = guest.beside.actor.send(Send {
            interface: "eth0".to_owned(),
            frames,
            repeat: 1,
            by: SendBy::Plain,
            rate: 0,
        })?;
        Ok(sent.sent)
    }

    /// Looks for frames at [`PORT`] at every notebook, on the guests' bridge and in the world.
    pub fn watch(&self, site: &Site) -> Result<Watch> {
        let filter = Filter { port: Some(PORT), ..Filter::default() };
        let mut all = Vec::new();
        let mut capture = |actor: &Actor, interface: &str| -> Result<()> {
            let capturing: Capturing = actor.call(&Request::Capture {
                interface: interface.to_owned(),
                filter: filter.clone(),
                outgoing: false,
                keep: 4,
            })?;
            all.push((actor.clone(), capturing.id));
            Ok(())
        };
        for guest in &self.guests {
            capture(&guest.beside.actor, "eth0")?;
        }
        capture(&site.base.host.actor, BRIDGE)?;
        capture(&site.base.world.actor, "wan0")?;
        // Whoever cannot see anything sees nothing wrong: the host may reach every guest, and the world.
        let host = &site.base.host.actor;
        for guest in &self.guests {
            host.connect((guest.ip, PORT), 2000)?;
        }
        host.connect((WORLD, PORT), 2000)?;
        Ok(Watch { all })
    }
}

/// Captures that run.
pub struct Watch {
    all: Vec<(Actor, Id)>,
}

impl Watch {
    /// Nothing came but what the host itself sent at the begin: a SYN to each, and their resets on the bridge.
    pub fn ensure_nothing_else(self) -> Result<()> {
        // Nobody sends any more; what is under way has a moment.
        thread::sleep(Duration::from_millis(100));
        let mut seen = Vec::new();
        for (actor, id) in self.all {
            let captured: Captured = actor.call(&Request::CaptureEnd { id, settle_ms: 40 })?;
            ensure!(captured.missed == 0, "a capture missed {} frames", captured.missed);
            seen.push((captured.count, captured.frames));
        }
        let counts: Vec<u64> = seen.iter().map(|(count, _)| *count).collect();
        let mut expected = vec![1; MANY];
        expected.extend([MANY as u64, 1]);
        ensure!(counts == expected, "at the notebooks, the bridge and the world: {seen:?}");
        Ok(())
    }
}

fn guest(site: &Site, who: usize, arrived: &Arrived) -> Result<Guest> {
    let notebook = site.notebook("lab", &arrived.user)?;
    let ip = address(&notebook, NETWORK)?.parse()?;
    let mac = mac(&notebook)?;
    let container = notebook.name.context("no name")?.trim_start_matches('/').to_owned();
    let pid = notebook.state.and_then(|state| state.pid).context("no process")?;
    let beside = Beside::start(&site.base.run, &format!("beside-{who}"), u32::try_from(pid)?)?;
    Ok(Guest { user: arrived.user.clone(), container, ip, mac, beside })
}

/// As the engine has it: the actor beside a guest reads the machine's `/sys`.
fn mac(notebook: &ContainerInspectResponse) -> Result<Mac> {
    let settings = notebook.network_settings.as_ref().context("no settings")?;
    let endpoint = settings.networks.as_ref().and_then(|all| all.get(NETWORK));
    let text = endpoint.and_then(|endpoint| endpoint.mac_address.as_deref()).context("no MAC")?;
    let bytes = hex::decode(&text.replace(':', "")).context("no MAC")?;
    bytes.try_into().map_err(|bytes| anyhow::anyhow!("no MAC: {bytes:?}"))
}
