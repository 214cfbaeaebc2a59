//! A line that an eBPF program wrote for a developer, by the product's own loader. Only with the
//! feature `bpf-log`. Needs root; without it, it says so and passes.

use std::{sync::mpsc, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    TestRun as _, TestRunOptions,
    programs::{SchedClassifier, loaded_programs},
};
use enforcer::{
    config::DEFAULT_PIN_DIR,
    kernel::{
        features,
        load::{LoadOptions, load},
        pins::Pins,
    },
};
use enforcer_common::abi::event::Hook;
use enforcer_tests::vm;

#[test]
fn a_program_writes_a_line() -> Result<()> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return Ok(());
    }
    vm::own_pins()?;
    let options = LoadOptions { mark_mask: 3, max_flows: 1024 };
    let pins = Pins::open(DEFAULT_PIN_DIR.as_ref())?;
    let loaded = load(options, &features::preflight()?, &pins)?;
    let (seen, lines) = mpsc::channel();
    loaded.log.read(move |line| {
        let _ = seen.send(line.to_owned());
    })?;
    let id = loaded.hooks.program_id(Hook::FromGuest);
    let info = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == id)
        .context("the kernel does not list the program")?;
    let program = SchedClassifier::from_program_info(info, Hook::FromGuest.name().into())?;
    // On loopback, which is no guest's port: it passes.
    let run = TestRunOptions { data_in: Some(&[0; 60]), ..TestRunOptions::default() };
    assert_eq!(program.test_run(run)?.return_value.cast_signed(), -1);
    let line = lines.recv_timeout(Duration::from_secs(2)).context("no line came")?;
    assert_eq!(line, "hook 1 reason 0 length 60");
    Ok(())
}
