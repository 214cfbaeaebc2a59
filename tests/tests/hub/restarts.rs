//! The daemon, the hub, the proxy and the engine, each killed under live notebooks and started again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::harness::topology::NETWORK;
use serde_json::{Value, json};

use super::{
    party::{MANY, Party},
    site::Site,
};

/// Goes on until it is told to stop, in a thread of the kernel.
const PROBE: &str = r"
import collections, threading

is_over = threading.Event()
outcomes = collections.Counter()

def probe():
    while not is_over.is_set():
        for ip in TARGETS:
            outcomes.update(outcome for outcome, _ in calls(ip))
        is_over.wait(0.05)

prober = threading.Thread(target=probe)
prober.start()
";
const PROBED: &str = "is_over.set()\nprober.join()\nprint(json.dumps(outcomes))";

/// N4, N7: kernels keep answering, through websockets that are open wherever nobody cut these, and a guest that tries all the
/// time reaches nobody.
pub fn survived(site: &mut Site, party: &mut Party) -> Result<()> {
    let watch = party.watch(site)?;
    let code = party.cell(0, PROBE);
    party.visitors.cell(0, &code)?;
    party.visitors.cells(&vec!["n = 0".to_owned(); MANY])?;
    let mut rounds = Rounds { answered: 0 };

    site.kill_daemon()?;
    rounds.answer(party).context("without the daemon")?;
    site.resume_daemon()?;
    rounds.answer(party).context("with the daemon again")?;

    site.hub()?.server.kill()?;
    rounds.answer(party).context("without the hub")?;
    site.hub()?.resume()?;
    rounds.answer(party).context("with the hub again")?;

    site.hub()?.proxy.kill()?;
    site.hub()?.proxy.resume()?;
    let each: Vec<_> = (0..MANY).map(|who| (who, json!([]))).collect();
    party.visitors.ask_all("reconnect", &each).context("through another proxy")?;
    rounds.answer(party).context("through another proxy")?;

    site.base.docker.end(libc::SIGKILL)?;
    rounds.answer(party).context("without the engine")?;
    site.base.docker.resume(&site.base.host)?;
    rounds.answer(party).context("with the engine again")?;

    let said = party.visitors.cell(0, PROBED)?;
    let probed: BTreeMap<String, u64> = serde_json::from_str(&said).context(said.clone())?;
    // It went on all the time, and every call was refused.
    let [(told, calls)] = &probed.into_iter().collect::<Vec<_>>()[..] else { bail!("{said}") };
    ensure!(told == "EPERM" && *calls > 200, "{said}");
    watch.ensure_nothing_else()?;

    // The site is whole: all are known to the hub and to the daemon, and who comes now is served as they were.
    for guest in &party.guests {
        let user = site.hub()?.server.manage("GET", &format!("/users/{}", guest.user), None)?;
        let user: Value = serde_json::from_str(&user)?;
        ensure!(user["servers"][""]["ready"] == true, "{user}");
        site.daemon()?.wait_identified(&site.base.host, &guest.container, "guest")?;
    }
    let late = party.visitors.ask(MANY, "arrive", json!([]))?;
    let user = late["user"].as_str().context("no user")?;
    let notebook = site.notebook("lab", user)?;
    let networks = notebook.network_settings.and_then(|settings| settings.networks);
    ensure!(networks.is_some_and(|all| all.contains_key(NETWORK)), "{late}");
    Ok(())
}

struct Rounds {
    answered: u32,
}

impl Rounds {
    /// Every kernel answers, and has not forgotten what it was told before; frames go out as well.
    fn answer(&mut self, party: &mut Party) -> Result<()> {
        self.answered += 1;
        for who in 0..MANY {
            ensure!(party.trespass(who)? == 9, "the kernel took less than 9 frames");
        }
        let said = party.visitors.cells(&vec!["n += 1\nprint(n)".to_owned(); MANY])?;
        let expected = format!("{}\n", self.answered);
        ensure!(said.iter().all(|text| *text == expected), "{said:?}");
        Ok(())
    }
}
