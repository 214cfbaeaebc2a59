//! Records of what processes do.

use enforcer_common::abi::event;

use super::{Names, ip};
use crate::audit::{
    decode::{Began, Refused, SocketDenied},
    record::{CUT, ConnectRefused, Exec, Process, SocketRefused},
};

impl Names {
    pub(super) fn began(&self, began: &Began) -> Exec {
        let mut executable = String::from_utf8_lossy(&began.executable).into_owned();
        if began.cut {
            executable.push(CUT);
        }
        Exec {
            subject: self.subject(began.owner),
            process: process(&began.process),
            executable,
            cut: began.cut,
        }
    }

    pub(super) fn refused(&self, refused: &Refused) -> ConnectRefused {
        let event = &refused.event;
        ConnectRefused {
            subject: self.subject(event.owner),
            process: process(&event.process),
            verdict: "deny".to_owned(),
            reason: refused.reason.name().to_owned(),
            call: refused.call.name().to_owned(),
            destination: ip(event.destination, event.family).to_string(),
            destination_port: event.destination_port,
            protocol: event.protocol,
            rule: Some(event.rule).filter(|rule| *rule != 0),
        }
    }

    pub(super) fn socket_denied(&self, denied: &SocketDenied) -> SocketRefused {
        SocketRefused {
            subject: self.subject(denied.owner),
            process: process(&denied.process),
            verdict: "deny".to_owned(),
            reason: "foreign_socket".to_owned(),
            call: denied.call.name().to_owned(),
            socket: socket_name(&denied.name),
            maker: denied.maker,
        }
    }
}

/// A path, or `@` and an abstract name.
fn socket_name(name: &[u8]) -> Option<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match name {
        [] => None,
        [0, name @ ..] => Some(format!("@{}", text(name))),
        // With a NUL at its end, and perhaps more behind it.
        path => Some(text(path.split(|byte| *byte == 0).next().unwrap_or_default())),
    }
}

fn process(process: &event::Process) -> Process {
    let name = process.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Process {
        pid: process.pid,
        parent_pid: Some(process.parent_pid).filter(|pid| *pid != 0),
        name: String::from_utf8_lossy(name).into_owned(),
        user: process.uid.to_string(),
        group: process.gid.to_string(),
        cgroup: process.cgroup,
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::{event::Call, verdict::DropReason};

    use super::*;

    #[test]
    fn a2_whatever_a_process_is_called_its_record_is_one_line() {
        let mut comm = [b'a'; 16];
        comm[..8].copy_from_slice(b"x\n\"\x1b[2J\xff");
        let process =
            event::Process { cgroup: 4, pid: 10, uid: 1000, gid: 100, parent_pid: 0, comm };
        let executable = b"./a\nb\xff".to_vec();
        let began = Began { owner: 7, time_ns: 0, process, executable, cut: false };
        let exec = Names::default().began(&began);
        assert_eq!(
            exec.process.name, "x\n\"\x1b[2J\u{fffd}aaaaaaaa",
            "all 16 bytes, no NUL needed"
        );
        assert_eq!((exec.process.parent_pid, exec.process.user.as_str()), (None, "1000"));
        let line = serde_json::to_string(&exec).expect("serialises");
        assert!(!line.contains(['\n', '\x1b']), "{line}");
        assert_eq!(serde_json::from_str::<Exec>(&line).expect("reads"), exec);
    }

    #[test]
    fn s4_a_refused_socket_is_named_as_it_was_bound() {
        for (bytes, name) in [
            (&b"/run/docker.sock\0"[..], Some("/run/docker.sock")),
            (b"/run/docker.sock", Some("/run/docker.sock")),
            (b"\0abstract\0x", Some("@abstract\0x")),
            (b"./a\xff\n", Some("./a\u{fffd}\n")),
            (b"", None),
        ] {
            let denied = SocketDenied {
                owner: 7,
                time_ns: 0,
                process: event::Process { pid: 10, ..event::Process::default() },
                call: event::SocketCall::Connect,
                maker: 1,
                name: bytes.to_vec(),
            };
            let record = Names::default().socket_denied(&denied);
            assert_eq!((record.socket.as_deref(), record.process.pid), (name, 10));
            let line = serde_json::to_string(&record).expect("serialises");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<SocketRefused>(&line).expect("reads"), record);
        }
    }

    #[test]
    fn a2_a_refusal_names_who_asked_and_for_what() {
        let mut event = event::ConnectRefused {
            process: event::Process { pid: 10, comm: *b"curl\0aaaaaaaaaaa", ..Default::default() },
            destination_port: 443,
            protocol: 6,
            family: 4,
            ..event::ConnectRefused::default()
        };
        event.destination[..4].copy_from_slice(&[192, 0, 2, 1]);
        let refused = Refused { call: Call::Connect, reason: DropReason::GuestToGuest, event };
        let record = Names::default().refused(&refused);
        assert_eq!((record.process.name.as_str(), record.process.pid), ("curl", 10));
        assert_eq!((record.destination.as_str(), record.destination_port), ("192.0.2.1", 443));
        assert_eq!((record.call.as_str(), record.reason.as_str()), ("connect", "guest_to_guest"));
        let line = serde_json::to_string(&record).expect("serialises");
        assert_eq!(serde_json::from_str::<ConnectRefused>(&line).expect("reads"), record);
    }
}
