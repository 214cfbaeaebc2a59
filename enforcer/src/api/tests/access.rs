use crate::{
    api::routes::{
        access::{AccessReport, HolderStatus, RefusedStatus},
        groups::Given,
    },
    model::way::{Way, WayKind},
};

/// One of each.
pub(super) fn sample() -> AccessReport {
    let given = Given {
        since: "2026-11-22T12:00:00.000000Z".to_owned(),
        until: None,
        by: "root".to_owned(),
        via: "control".to_owned(),
        reason: "course 5".to_owned(),
    };
    let holder = HolderStatus {
        hub: "lab".to_owned(),
        user: "ann".to_owned(),
        socket: "raw".to_owned(),
        group: "staff".to_owned(),
        until: Some("2026-12-31T18:00:00.000000Z".to_owned()),
        grant: given.clone(),
        member: Some(given),
        containers: vec!["guest-lab-ann".to_owned()],
    };
    let refused = RefusedStatus {
        container: "guest-lab-ben".to_owned(),
        hub: "lab".to_owned(),
        user: "ben".to_owned(),
    };
    let way = Way {
        kind: WayKind::Mount,
        at: "portainer".to_owned(),
        who: vec!["/run/docker.sock".to_owned()],
        warning: "end it".to_owned(),
    };
    AccessReport {
        enabled: true,
        holders: vec![holder],
        refused: vec![refused],
        ways: vec![way],
        unknown: vec!["who of hub two has a socket".to_owned()],
    }
}
