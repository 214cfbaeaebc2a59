//! Tells the stream who comes and who goes on the guest networks, and what the engine did to them.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::now;
use crate::{
    audit::{
        claim::{self, Claims},
        enrich::Names,
        life,
        record::{Body, Guest},
    },
    config::Config,
    model::{heard::Heard, owner::Owners},
};

/// Tells until the sources end.
pub(super) async fn tell(
    config: watch::Receiver<Arc<Config>>,
    mut owners: watch::Receiver<Arc<Owners>>,
    mut heard: mpsc::UnboundedReceiver<Heard>,
    journal: mpsc::UnboundedSender<Body>,
) {
    let mut names = Names::new(config.borrow().audit.labels.clone());
    let mut claims = Claims::default();
    let mut before = Arc::<Owners>::default();
    loop {
        let told = tokio::select! {
            changed = owners.changed() => {
                if changed.is_err() {
                    return;
                }
                let after = Arc::clone(&owners.borrow_and_update());
                let claimed = claims.meet(&after).into_iter().map(docker);
                let told = claimed.chain(compare(&mut names, &before, &after)).collect();
                before = after;
                told
            }
            heard = heard.recv() => {
                let Some(heard) = heard else { return };
                let config = config.borrow();
                let is_guest_network = |name: &str| config.networks.contains_key(name);
                Vec::from_iter(claims.hear(heard, is_guest_network).map(docker))
            }
        };
        for body in told {
            // Nobody listens any more: the daemon is stopping.
            let _ = journal.send(body);
        }
    }
}

/// Comings and goings between two looks at the owners.
fn compare(names: &mut Names, before: &Owners, after: &Arc<Owners>) -> Vec<Body> {
    let now_ns = now().mono_ns;
    names.update(after, now_ns);
    let changes = life::changes(before, after).into_iter().map(|(id, change)| {
        let guest = Guest { subject: names.subject(id), event: change.name().to_owned() };
        Body::Guest(Box::new(guest))
    });
    let changes = changes.collect();
    names.forget(now_ns);
    changes
}

fn docker(heard: Heard) -> Body {
    Body::Docker(Box::new(claim::record(heard)))
}
