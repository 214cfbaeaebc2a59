//! What a user may have while a connection lasts: asked for at the request, and again whenever it may have changed
//! (S19).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::StatusCode;
use tokio::{sync::watch, time::sleep};

use super::verdict::Refusal;
use crate::{
    access::{
        grant::{Seconds, Socket},
        judge::{Answer, Granted, Why},
        name::User,
        service::Access,
    },
    config::Config,
};

/// A hub that keeps its own groups says nothing when they change: it is asked again this often. It also bounds what a
/// clock that is set anew does.
const AGAIN: Duration = Duration::from_secs(15);
/// A hub that does not answer, for it is being restarted perhaps, is asked once more before its users' streams end.
const SILENT: Duration = Duration::from_secs(2);

/// A user's grant, as long as it holds.
#[derive(Debug)]
pub(super) struct Standing {
    access: Access,
    user: User,
    socket: Socket,
    until: Option<Seconds>,
    changes: watch::Receiver<u64>,
    config: watch::Receiver<Arc<Config>>,
}

impl Standing {
    /// Asks for the grant of a user.
    pub(super) async fn find(
        access: &Access,
        config: &watch::Receiver<Arc<Config>>,
        user: &User,
    ) -> Result<Self, Refusal> {
        // Whatever changes from here on is noticed.
        let (mut changes, mut config) = (access.changes(), config.clone());
        changes.mark_unchanged();
        config.mark_unchanged();
        match access.socket_lately(user).await {
            Answer::Granted(Granted { socket, until, .. }) => {
                let (access, user) = (access.clone(), user.clone());
                Ok(Self { access, user, socket, until, changes, config })
            }
            Answer::Refused(why) => Err(Refusal {
                status: StatusCode::FORBIDDEN,
                rule: "grant.none",
                message: format!("you have no Docker socket now: {why}"),
            }),
        }
    }

    /// Which socket it is.
    pub(super) const fn socket(&self) -> Socket {
        self.socket
    }

    /// Until the grant is over, or weaker: why.
    pub(super) async fn over(&mut self) -> String {
        let mut is_silent = false;
        loop {
            let pause = if is_silent { SILENT } else { wait(self.until, SystemTime::now()) };
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return gone() },
                changed = self.config.changed() => if changed.is_err() { return gone() },
                () = sleep(pause) => {}
            }
            let answer = self.access.socket_lately(&self.user).await;
            match after(answer, self.socket, is_silent) {
                After::Holds(until) => (self.until, is_silent) = (until, false),
                After::Silent => is_silent = true,
                After::Over(why) => return why,
            }
        }
    }
}

/// What an answer means for a stream that is open.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// It goes on, until then.
    Holds(Option<Seconds>),
    /// Nobody can tell: it is asked once more.
    Silent,
    /// It ends.
    Over(String),
}

fn after(answer: Answer, socket: Socket, was_silent: bool) -> After {
    match answer {
        Answer::Granted(granted) if granted.socket >= socket => After::Holds(granted.until),
        Answer::Granted(granted) => {
            After::Over(format!("the grant is {} now", granted.socket.kind()))
        }
        Answer::Refused(Why::NoMemberships(_)) if !was_silent => After::Silent,
        Answer::Refused(why) => After::Over(why.to_string()),
    }
}

fn gone() -> String {
    "the daemon is stopping".to_owned()
}

/// How long until a grant is looked at again.
fn wait(until: Option<Seconds>, now: SystemTime) -> Duration {
    let end = until.map(|until| SystemTime::UNIX_EPOCH + Duration::from_secs(until.0));
    let left = end.map(|end| end.duration_since(now).unwrap_or_default());
    // What is over and was not refused is not asked for without a pause.
    left.map_or(AGAIN, |left| left.clamp(Duration::from_millis(100), AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::grant::{By, Note, Reason};

    #[test]
    fn s19_a_stream_outlives_one_silence_of_a_hub_and_nothing_else() {
        let granted = |socket| {
            let by = By::config();
            let note = Note { since: Seconds(1), until: None, by, reason: Reason::default() };
            let group = "staff".parse().expect("a group");
            Answer::Granted(Granted { socket, group, until: Some(Seconds(7)), note })
        };
        let silent = || Answer::Refused(Why::NoMemberships("late".to_owned()));
        let over = |answer, socket, was_silent| {
            matches!(after(answer, socket, was_silent), After::Over(_))
        };
        for was_silent in [false, true] {
            let holds = After::Holds(Some(Seconds(7)));
            assert_eq!(after(granted(Socket::Raw), Socket::Filtered, was_silent), holds);
            assert!(over(granted(Socket::Filtered), Socket::Raw, was_silent), "weaker");
            assert!(over(Answer::Refused(Why::NotMember), Socket::Filtered, was_silent));
            let unknown = Why::NoGrants("a disk".to_owned());
            assert!(over(Answer::Refused(unknown), Socket::Filtered, was_silent));
        }
        assert_eq!(after(silent(), Socket::Filtered, false), After::Silent);
        assert!(over(silent(), Socket::Filtered, true));
    }

    #[test]
    fn s19_a_grant_is_looked_at_when_it_ends_and_every_few_seconds() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_millis(seconds);
        for (until, now, expected) in [
            (None, 5_000, AGAIN),
            (Some(10), 5_500, Duration::from_millis(4_500)),
            (Some(10_000), 5_000, AGAIN),
            (Some(10), 10_000, Duration::from_millis(100)),
            (Some(10), 99_000, Duration::from_millis(100)),
        ] {
            assert_eq!(wait(until.map(Seconds), at(now)), expected, "{until:?} {now}");
        }
    }
}
