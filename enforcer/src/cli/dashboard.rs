//! `enforcer dashboard`: a web page of what guests do now, on this host only.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{DaemonAt, Exit, events};
use crate::{
    config::MetricsAt,
    dashboard::{Desk, serve},
    metrics::Listener,
};

/// Records that wait to be taken in.
const RECORDS: usize = 1024;

/// Arguments of `dashboard`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo enforcer dashboard
  sudo enforcer dashboard --listen 127.0.0.1:9470
  ssh -L 9470:127.0.0.1:9470 the-host sudo enforcer dashboard    and then http://127.0.0.1:9470/ here
  sudo enforcer dashboard --socket /run/enforcer/dashboard.sock

A page to look at: nothing can be changed there. It names guests, and whoever is on this host may read a loopback address:
where strangers have accounts, take a socket, which only root may use. Another address than a loopback one is
refused. Signals end it. Exit codes: 0 ended; 1 it cannot listen; 2 wrong usage.")]
pub(super) struct DashboardArgs {
    /// Listen on this loopback address.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9470", value_parser = loopback, conflicts_with = "socket")]
    listen: SocketAddr,
    /// Listen on a unix socket here.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    at: DaemonAt,
}

/// Serves it until a signal.
pub(super) async fn dashboard(args: DashboardArgs) -> Result<Exit> {
    let (run_dir, _) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let at = match args.socket {
        Some(path) => MetricsAt::Socket(path),
        None => MetricsAt::Listen(args.listen),
    };
    let listener = Listener::bind(&at).await?;
    match &listener {
        Listener::Tcp(tcp) => println!("dashboard at http://{}/", tcp.local_addr()?),
        Listener::Unix(..) => println!("dashboard at the socket; it answers HTTP"),
    }
    let desk = Arc::new(Desk::new(run_dir.clone()));
    let (to, mut heard) = mpsc::channel(RECORDS);
    let hearing = tokio::spawn(events::hear(run_dir, args.at.records(), to));
    let taking = async {
        while let Some(one) = heard.recv().await {
            desk.hear(one).await;
        }
    };
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()?;
    let [terminate, interrupt, hangup] = ends.as_mut_slice() else { return Ok(Exit::Error) };
    tokio::select! {
        () = serve(listener, Arc::clone(&desk)) => {}
        () = taking => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    hearing.abort();
    Ok(Exit::Ok)
}

/// A loopback address, and no other.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let at: SocketAddr = text
        .parse()
        .map_err(|_not_one| format!("\"{text}\" is no address and port, such as 127.0.0.1:9470"))?;
    if !at.ip().is_loopback() {
        return Err(format!(
            "{at} can be reached from elsewhere, and the page names guests: listen on 127.0.0.1 and forward it, for \
             instance with ssh -L"
        ));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_the_page_is_on_this_host_only() {
        for refused in [
            "0.0.0.0:80",
            "192.0.2.1:9470",
            "[::]:9470",
            "[::ffff:127.0.0.1]:1",
            "localhost:1",
            "9470",
        ] {
            assert!(loopback(refused).is_err(), "{refused}");
        }
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:9470").is_ok());
    }
}
