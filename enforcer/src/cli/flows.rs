//! `enforcer flows`: live flows, as the kernel holds them now.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};

use super::{DaemonAt, Exit, declined, table::table};
use crate::{
    api::{ControlError, client},
    model::flows::{FlowOrder, FlowStatus, FlowsQuestion, FlowsReport, MOST},
};

/// An answer that takes longer is announced.
const PATIENCE: Duration = Duration::from_secs(1);

/// Arguments of `flows`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer flows
  enforcer flows --guest jupyter-ann --sort recent
  enforcer flows --limit 10000 --json | jq -r '.flows[] | select(.would_deny) | .remote' | sort | uniq -c

The daemon reads the kernel's table when it is asked, for 6 s at most; it says if that was not all. A flow that
has been idle for longer than its kind may be is left out. Bytes have Ethernet headers.")]
pub(super) struct FlowsArgs {
    /// Only those of this guest: its container's name, the beginning of its id, or its address.
    #[arg(long, value_name = "GUEST")]
    guest: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    limit: u32,
    /// Which come first: those with most bytes or packets, the oldest, or those used last.
    #[arg(long, value_enum, default_value_t = Sort::Bytes)]
    sort: Sort,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    Bytes,
    Packets,
    Age,
    Recent,
}

/// Asks the daemon.
pub(super) async fn flows(args: &FlowsArgs) -> anyhow::Result<Exit> {
    let (run_dir, _) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let order = match args.sort {
        Sort::Bytes => FlowOrder::Bytes,
        Sort::Packets => FlowOrder::Packets,
        Sort::Age => FlowOrder::Age,
        Sort::Recent => FlowOrder::Recent,
    };
    let question = FlowsQuestion { guest: args.guest.clone(), limit: args.limit, order };
    let asking = client::flows(&run_dir, &question);
    tokio::pin!(asking);
    let answer = tokio::select! {
        answer = &mut asking => answer,
        () = tokio::time::sleep(PATIENCE) => {
            eprintln!("the daemon reads the flow table …");
            asking.await
        }
    };
    match answer {
        Ok(report) if args.json => println!("{}", serde_json::to_string(&report)?),
        Ok(report) => print!("{}", text(&report)),
        Err(ControlError::Refused(why)) => return Ok(declined(&why)),
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}

fn text(report: &FlowsReport) -> String {
    let rows = report.flows.iter().map(row);
    let head = [
        "guest", "opener", "proto", "local", "remote", "state", "packets", "bytes", "age", "idle",
        "rule",
    ];
    let mut text = table("Flows (packets and bytes: sent/got by the guest)", head, rows);
    if report.others > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  … and {} more", report.others);
    }
    if !report.whole {
        text += "  … and perhaps others: the table was too large to read to its end in time\n";
    }
    text
}

fn row(flow: &FlowStatus) -> [String; 11] {
    let guest =
        if flow.guest.is_empty() { format!("#{}", flow.endpoint) } else { flow.guest.clone() };
    let name = flow.rule_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let rule = match (flow.rule, flow.would_deny.is_some()) {
        (Some(rule), false) => format!("{rule}{name}"),
        (Some(rule), true) => format!("audit mode, {rule}{name} denies"),
        (None, true) => "audit mode, none opens it".to_owned(),
        (None, false) => String::new(),
    };
    [
        guest,
        flow.opener.clone(),
        protocol(flow.protocol),
        end(flow, SocketAddr::from((flow.local, flow.local_port))),
        end(flow, SocketAddr::from((flow.remote, flow.remote_port))),
        flow.state.clone(),
        format!("{}/{}", flow.packets_out, flow.packets_in),
        format!("{}/{}", flow.bytes_out, flow.bytes_in),
        duration(flow.age_ms),
        duration(flow.idle_ms),
        rule,
    ]
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

/// Echo has an identifier, no ports.
fn end(flow: &FlowStatus, end: SocketAddr) -> String {
    if matches!(flow.protocol, TCP | UDP) { end.to_string() } else { end.ip().to_string() }
}

/// `0.4s`, `59s`, `3m20s`, `2h05m`, `4d07h`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (ms, expected) in [
            (0, "0.0s"),
            (9_950, "9.9s"),
            (59_999, "59s"),
            (200_000, "3m20s"),
            (7_500_000, "2h05m"),
            (370_800_000, "4d07h"),
        ] {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn o1_the_table_says_what_is_left_out() {
        let flow = FlowStatus {
            guest: String::new(),
            endpoint: 7,
            network: String::new(),
            user: None,
            opener: "guest".to_owned(),
            protocol: TCP,
            local: [10, 0, 0, 2].into(),
            local_port: 40_000,
            remote: "2001:db8::1".parse().expect("an address"),
            remote_port: 443,
            state: "established".to_owned(),
            packets_out: 3,
            packets_in: 4,
            bytes_out: 500,
            bytes_in: 600,
            age_ms: 61_000,
            idle_ms: 100,
            rule: Some(2),
            rule_name: Some("deny at f:9".to_owned()),
            would_deny: Some("policy".to_owned()),
        };
        let echo = FlowStatus {
            guest: "ada".to_owned(),
            protocol: ICMP,
            would_deny: None,
            rule_name: None,
            ..flow.clone()
        };
        let told = text(&FlowsReport { flows: vec![flow, echo], others: 12, whole: false });
        for words in [
            "#7     guest   tcp    10.0.0.2:40000  [2001:db8::1]:443  established  3/4      500/600  1m01s  0.1s  \
             audit mode, 2 (deny at f:9) denies\n",
            "ada    guest   icmp   10.0.0.2        2001:db8::1        established  3/4      500/600  1m01s  0.1s  2\n",
            "… and 12 more\n",
            "perhaps others",
        ] {
            assert!(told.contains(words), "{words:?} is missing in:\n{told}");
        }
        let none = text(&FlowsReport { whole: true, ..FlowsReport::default() });
        assert!(none.ends_with(": none\n"), "{none}");
    }
}
