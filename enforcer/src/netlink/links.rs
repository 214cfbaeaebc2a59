//! Follows the links of this network namespace: subscribe, dump, follow; after a lost message, dump
//! again. A new veth is announced before anything else is done about it.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, link::LinkAttribute},
};
use tokio::sync::{mpsc, watch};

use super::{
    NetlinkError,
    table::{Table, message_mac},
};
use crate::model::link::Links;

/// How often everything is read anew, lost messages or not.
const RESYNC: Duration = Duration::from_secs(5);

/// What the follower tells.
#[derive(Debug)]
pub struct LinkWatch {
    /// The links as they are.
    pub links: watch::Receiver<Arc<Links>>,
    /// Each veth at its first appearance.
    pub new_veths: mpsc::UnboundedReceiver<NewVeth>,
    /// Ask here to read links and peers anew at once.
    pub refresh: mpsc::Sender<()>,
}

/// A veth that was not there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVeth {
    /// Its index.
    pub ifindex: u32,
    /// ifindex of its bridge, should it have one already.
    pub master: Option<u32>,
}

/// Subscribes, reads everything once, and follows on a task of the current runtime.
pub async fn follow() -> Result<LinkWatch, NetlinkError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, messages) =
        rtnetlink::new_multicast_connection(&groups).map_err(NetlinkError::Socket)?;
    tokio::spawn(connection);
    let (links, links_out) = watch::channel(Arc::default());
    let (new_veths, new_veths_out) = mpsc::unbounded_channel();
    let (refresh_in, refresh) = mpsc::channel(1);
    let mut follower =
        Follower { table: Table::default(), handle: super::connect()?, links, new_veths };
    follower.resync().await?;
    tokio::spawn(follower.run(messages, refresh));
    Ok(LinkWatch { links: links_out, new_veths: new_veths_out, refresh: refresh_in })
}

/// The links as they are now, and what can be known of their peers.
pub async fn list() -> Result<Links, NetlinkError> {
    let (links, links_out) = watch::channel(Arc::default());
    let (new_veths, _nobody) = mpsc::unbounded_channel();
    let mut follower =
        Follower { table: Table::default(), handle: super::connect()?, links, new_veths };
    follower.resync().await?;
    let links = Links::clone(&links_out.borrow());
    Ok(links)
}

struct Follower {
    table: Table,
    handle: Handle,
    links: watch::Sender<Arc<Links>>,
    new_veths: mpsc::UnboundedSender<NewVeth>,
}

impl Follower {
    async fn run<S, A>(mut self, mut messages: S, mut refresh: mpsc::Receiver<()>)
    where
        S: futures_util::Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, A)> + Unpin,
    {
        let mut timer = tokio::time::interval(RESYNC);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let whole = tokio::select! {
                biased;
                message = messages.next() => match message {
                    // Everything that has arrived is taken in before it is published.
                    Some((message, _)) => {
                        let mut lost = self.take(&message);
                        while let Some(Some((message, _))) =
                            futures_util::FutureExt::now_or_never(messages.next())
                        {
                            lost |= self.take(&message);
                        }
                        lost
                    }
                    None => return tracing::error!("the netlink subscription ended"),
                },
                asked = refresh.recv() => {
                    if asked.is_none() {
                        return;
                    }
                    true
                }
                _ = timer.tick() => true,
            };
            if whole && let Err(error) = self.resync().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot list the links");
            }
            self.look_closer().await;
            self.publish();
        }
    }

    /// Takes in one message; `true`: messages were lost.
    fn take(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
        match &message.payload {
            NetlinkPayload::Overrun(_) => return true,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
                if self.table.link(link) =>
            {
                self.announce(link.header.index);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                self.table.unlink(link);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                self.table.address(address, true);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
                self.table.address(address, false);
            }
            _ => {}
        }
        false
    }

    fn announce(&self, ifindex: u32) {
        let master = self.table.links().get(&ifindex).and_then(|link| link.master);
        // Nobody listens any more: the daemon is stopping.
        let _ = self.new_veths.send(NewVeth { ifindex, master });
    }

    async fn resync(&mut self) -> Result<(), NetlinkError> {
        let links: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(NetlinkError::request("list links", 0))?;
        let addresses: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(NetlinkError::request("list addresses", 0))?;
        for ifindex in self.table.replace(&links, &addresses) {
            self.announce(ifindex);
        }
        self.look_closer().await;
        self.publish();
        Ok(())
    }

    /// Asks for what events did not tell: whole links, and peers in other namespaces.
    async fn look_closer(&mut self) {
        for ifindex in std::mem::take(&mut self.table.refresh) {
            let mut answer = self.handle.link().get().match_index(ifindex).execute().boxed();
            match answer.try_next().await {
                Ok(Some(link)) => {
                    self.table.link(&link);
                }
                _ => self.table.remove(ifindex),
            }
        }
        for ifindex in std::mem::take(&mut self.table.peers) {
            let mac = self.peer_mac(ifindex).await;
            self.table.peer_mac(ifindex, mac);
        }
    }

    /// Reads the MAC address of a peer in the peer's namespace. The kernel answers for it: nothing
    /// runs there, and nothing there is asked.
    async fn peer_mac(&self, ifindex: u32) -> Option<[u8; 6]> {
        let link = self.table.links().get(&ifindex)?;
        let (peer, netns) = (link.peer?, link.peer_netns?);
        let mut request = self.handle.link().get().match_index(peer);
        request.message_mut().attributes.push(LinkAttribute::IfNetnsId(netns));
        message_mac(&request.execute().boxed().try_next().await.ok()??)
    }

    fn publish(&self) {
        self.links.send_if_modified(|links| {
            let changed = **links != *self.table.links();
            if changed {
                *links = Arc::new(self.table.links().clone());
            }
            changed
        });
    }
}
