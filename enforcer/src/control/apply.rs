//! Control path 3: the only executor of plans. It reports every failure and stops at none: a step
//! that fails must not leave the next port unprotected.

use std::fmt;

use super::plan::Action;
use crate::{causes::causes, closure::ClosureError, kernel::KernelError, netlink::NetlinkError};

/// Performs one step.
pub trait Execute {
    /// Performs it; idempotent.
    fn execute(&mut self, action: &Action) -> Result<(), ExecuteError>;
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// eBPF.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// nftables.
    #[error(transparent)]
    Closure(#[from] ClosureError),
}

impl ExecuteError {
    /// Whether the interface went away meanwhile: the next look at the links settles that.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_gone(),
            Self::Netlink(error) => error.is_gone(),
            Self::Closure(_) => false,
        }
    }
}

/// A step and why it failed.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub action: Action,
    /// Why.
    pub error: ExecuteError,
}

impl fmt::Display for Failure {
    /// The step, and the whole chain of why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.action, causes(&self.error))
    }
}

/// Performs the steps in order; returns those that failed. Blocks.
pub fn apply(actions: Vec<Action>, executor: &mut impl Execute) -> Vec<Failure> {
    let mut failures = Vec::new();
    for action in actions {
        if let Err(error) = executor.execute(&action) {
            failures.push(Failure { action, error });
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::event::Hook;

    use super::*;

    #[derive(Default)]
    struct Recorder(Vec<Action>);

    impl Execute for Recorder {
        fn execute(&mut self, action: &Action) -> Result<(), ExecuteError> {
            self.0.push(action.clone());
            match action {
                Action::Attach(ifindex, hook) => Err(KernelError::Attach {
                    program: hook.name(),
                    ifindex: *ifindex,
                    source: std::io::Error::from_raw_os_error(libc::ENODEV),
                }
                .into()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_failed_step_is_reported_and_the_rest_is_done() {
        let steps =
            vec![Action::Attach(7, Hook::FromGuest), Action::DropUsage(1), Action::DropUsage(2)];
        let mut recorder = Recorder::default();
        let failures = apply(steps.clone(), &mut recorder);
        assert_eq!(recorder.0, steps);
        assert!(matches!(&failures[..], [failure] if failure.action == steps[0]));
        assert!(failures[0].error.is_gone());
    }
}
