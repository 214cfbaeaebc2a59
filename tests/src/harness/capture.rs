//! Captures at several points at once.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::client::Actor;
use crate::{
    attacks::Point,
    protocol::{Captured, Capturing, Filter, Id, Request},
};

/// Milliseconds of quiet after which a capture ends.
const SETTLE_MS: u64 = 40;

/// Running captures.
pub struct Captures {
    running: Vec<(Point, Actor, Id)>,
}

impl Captures {
    /// Starts them: where, by which actor, on which interface.
    pub fn start(points: &[(Point, &Actor, &str)], filter: &Filter) -> Result<Self> {
        let mut running = Vec::new();
        for (point, actor, interface) in points {
            let capturing: Capturing = actor.call(&Request::Capture {
                interface: (*interface).into(),
                filter: filter.clone(),
                outgoing: false,
                keep: 4,
            })?;
            running.push((*point, (*actor).clone(), capturing.id));
        }
        Ok(Self { running })
    }

    /// Ends them; one that missed a frame is an error, because its count proves nothing.
    pub fn end(self) -> Result<BTreeMap<Point, Captured>> {
        let mut captured = BTreeMap::new();
        for (point, actor, id) in self.running {
            let end: Captured = actor.call(&Request::CaptureEnd { id, settle_ms: SETTLE_MS })?;
            ensure!(
                end.missed == 0,
                "the capture at {} missed {} frames",
                point.name(),
                end.missed
            );
            captured.insert(point, end);
        }
        Ok(captured)
    }
}
