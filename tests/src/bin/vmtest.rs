//! The only program of a test machine (`cargo xtask vm`): says `RESULT ok` when the packet path
//! does its work under the running kernel. Runs anywhere as root, in namespaces of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(outcome) = enforcer_tests::vm::child() {
        return outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if enforcer_tests::vm::run() {
        println!("RESULT ok");
        ExitCode::SUCCESS
    } else {
        println!("RESULT fail");
        ExitCode::FAILURE
    }
}
