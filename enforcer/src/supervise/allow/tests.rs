//! Orders, on a state directory that may or may not be written.

use super::*;

fn allowance(until_s: u64) -> Allowance {
    Allowance {
        id: 0,
        container: "ab12".to_owned(),
        name: "ann".to_owned(),
        network: "guests".to_owned(),
        to: [192, 0, 2, 9].into(),
        protocol: 6,
        port: until_s.try_into().unwrap_or(443),
        since_s: 1,
        until_s,
        reason: "a lesson".to_owned(),
        by: "root".to_owned(),
    }
}

/// One that is over, and one that is not; the file is in a directory of its own.
fn left(name: &str) -> (PathBuf, Allowances) {
    let dir = std::env::temp_dir().join(format!("enforcer-{name}-{}", std::process::id()));
    let mut all = Allowances::default();
    for until_s in [7, u64::MAX] {
        all.put(allowance(until_s)).expect("room");
    }
    file::put(&dir.join(file::NAME), &all.write().expect("text")).expect("written");
    (dir, all)
}

fn rig(dir: &Path) -> (Allower, AllowerHandle, mpsc::UnboundedReceiver<Body>) {
    let (_state, state) = watch::channel(Arc::default());
    let (journal, told) = mpsc::unbounded_channel();
    let subjects: Subjects = Box::new(|container| {
        (container == "ab12")
            .then(|| Subject { user: Some("ann@hub".to_owned()), ..Subject::default() })
    });
    let (allower, handle) = Allower::new(dir, state, subjects, journal);
    (allower, handle, told)
}

fn told(records: &mut mpsc::UnboundedReceiver<Body>) -> Vec<(String, u64, Option<String>)> {
    std::iter::from_fn(|| records.try_recv().ok())
        .filter_map(|body| match body {
            Body::Allowance(one) => Some((one.event, one.id, one.subject.user)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn n1_what_is_over_or_revoked_is_closed_also_where_nothing_can_be_written() {
    let (dir, all) = left("unwritable");
    let (mut allower, handle, mut records) = rig(&dir);
    assert_eq!(*handle.left, all, "what the kernel was left with");
    let open = || -> Vec<u64> { handle.allowances.borrow().iter().map(|one| one.id).collect() };
    assert_eq!(open(), [2], "what is over is not opened again, not even until the first look");
    // No file can be put in the place of a directory, not even by root.
    std::fs::remove_file(dir.join(file::NAME)).expect("removed");
    std::fs::create_dir(dir.join(file::NAME)).expect("made");
    allower.expire().await;
    let ann = || Some("ann@hub".to_owned());
    assert_eq!(told(&mut records), [("expired".to_owned(), 1, ann())]);
    assert_eq!(handle.problems.borrow().len(), 1);
    let order = RevokeOrder { id: 2, dry_run: false };
    let said = allower.revoke(&order, &Caller::default()).await.expect_err("not written");
    assert!(said.message.starts_with("it is closed, and a restart would"), "{said}");
    assert_eq!(open(), [0; 0]);
    assert_eq!(told(&mut records), [("revoked".to_owned(), 2, ann())]);
    // As soon as it can be, it is written.
    std::fs::remove_dir(dir.join(file::NAME)).expect("removed");
    allower.expire().await;
    assert_eq!(handle.problems.borrow().len(), 0);
    assert!(file::load(&dir.join(file::NAME)).is_ok_and(|read| read.is_empty()));
    remove(&dir).expect("removed");
    assert!(std::fs::remove_dir(&dir).is_ok(), "nothing is left behind");
}

#[tokio::test]
async fn n1_an_order_of_somebody_who_has_gone_is_not_done() {
    let (dir, _) = left("gone");
    let (mut allower, handle, mut records) = rig(&dir);
    let order = RevokeOrder { id: 2, dry_run: false };
    let (reply, answer) = tokio::sync::oneshot::channel();
    drop(answer);
    allower.obey(AllowanceAsked::Revoke(order.clone(), Caller::default(), reply)).await;
    assert!(told(&mut records).is_empty() && handle.allowances.borrow().of("ab12").count() == 1);
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    allower.obey(AllowanceAsked::Revoke(order, Caller::default(), reply)).await;
    assert!(answer.try_recv().is_ok_and(|said| said.is_ok_and(|gone| gone.id == 2)));
    remove(&dir).expect("removed");
    assert!(std::fs::remove_dir(&dir).is_ok(), "nothing is left behind");
}
