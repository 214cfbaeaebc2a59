//! The page that is served: one report at a time, and each is good for a while, so that no scraper
//! and no crowd of them makes the daemon work more than a little.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::render;
use crate::model::status::StatusReport;

/// A page is not made anew before it is this old.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for a new page.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the daemon for a report, which comes over the channel that is sent.
pub type Reports = mpsc::Sender<oneshot::Sender<StatusReport>>;

#[derive(Debug)]
struct Page {
    made: Instant,
    text: Bytes,
}

fn is_fresh(page: Option<&Page>) -> bool {
    page.is_some_and(|page| page.made.elapsed() < FRESH)
}

/// Where scrapers get the page.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    wanted: Arc<Notify>,
    page: watch::Receiver<Option<Page>>,
}

/// What makes the page.
#[derive(Debug)]
pub(super) struct Press {
    wanted: Arc<Notify>,
    page: watch::Sender<Option<Page>>,
    reports: Reports,
}

/// A desk and its press.
pub(super) fn print(reports: Reports) -> (Desk, Press) {
    let (sender, page) = watch::channel(None);
    let wanted = Arc::new(Notify::new());
    (Desk { wanted: Arc::clone(&wanted), page }, Press { wanted, page: sender, reports })
}

impl Desk {
    /// The page, not older than a moment; `None`: the daemon is busy, or stopping.
    pub(super) async fn page(&self) -> Option<Bytes> {
        let mut page = self.page.clone();
        if !is_fresh(page.borrow().as_ref()) {
            self.wanted.notify_one();
        }
        let fresh = timeout(PATIENCE, page.wait_for(|page| is_fresh(page.as_ref()))).await;
        fresh.ok()?.ok()?.as_ref().map(|page| page.text.clone())
    }
}

impl Press {
    /// Makes a page whenever one is wanted and there is none that is good, until the daemon stops.
    /// A scraper that goes away early does not have the next one made any sooner.
    pub(super) async fn run(self) {
        loop {
            self.wanted.notified().await;
            if is_fresh(self.page.borrow().as_ref()) {
                continue;
            }
            let begun = Instant::now();
            let (reply, report) = oneshot::channel();
            if self.reports.send(reply).await.is_err() {
                return;
            }
            let Ok(report) = report.await else { return };
            let text = Bytes::from(render(&report, begun.elapsed()));
            self.page.send_replace(Some(Page { made: Instant::now(), text }));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    /// Answers with reports whose backlog is their number; gives the number at last.
    async fn report(mut asked: mpsc::Receiver<oneshot::Sender<StatusReport>>) -> u32 {
        let mut backlog = 0;
        while let Some(reply) = asked.recv().await {
            backlog += 1;
            // Long enough for all who ask to be there.
            sleep(Duration::from_millis(50)).await;
            let _ = reply.send(StatusReport { backlog, ..StatusReport::default() });
        }
        backlog
    }

    #[tokio::test]
    async fn a_crowd_gets_one_report_and_the_next_one_a_second_later() {
        let (reports, asked) = mpsc::channel(1);
        let counting = tokio::spawn(report(asked));
        let (desk, press) = print(reports);
        let press = tokio::spawn(press.run());
        // One that asks and goes away at once.
        assert!(timeout(Duration::from_millis(1), desk.page()).await.is_err());
        let mut crowd = JoinSet::new();
        for _ in 0..50 {
            let desk = desk.clone();
            crowd.spawn(async move { desk.page().await.expect("a page") });
        }
        let first = b"\nenforcer_backlog_ports 1\n";
        let has = |page: &Bytes, line: &[u8]| page.windows(line.len()).any(|part| part == line);
        assert!(crowd.join_all().await.iter().all(|page| has(page, first)));
        // Nor is one made for those of them who found the press at work.
        sleep(FRESH / 4).await;
        assert!(has(&desk.page().await.expect("a page"), first));
        sleep(FRESH).await;
        assert!(has(&desk.page().await.expect("a page"), b"\nenforcer_backlog_ports 2\n"));
        press.abort();
        drop(press.await);
        assert_eq!(counting.await.expect("counted"), 2);
        // Without a press there is no page, and nobody waits for one.
        sleep(FRESH).await;
        assert_eq!(desk.page().await, None);
    }
}
