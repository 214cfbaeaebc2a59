//! TCP: new connections dressed as answers, closed tuples, options.

use enforcer_common::abi::verdict::DropReason::{self, FlowState, NoFlow, Policy, TcpFlags};

use super::{Book, Point, Scenario, Step, Through};
use crate::frames::{Tcp, flag};

const NEW: &[DropReason] = &[Policy, NoFlow, TcpFlags];
const CLOSED: &[DropReason] = &[Policy, NoFlow, FlowState];

pub(super) fn add(book: &mut Book) {
    book.frames("P08", "all 64 sets of TCP flags to the world", Point::World, NEW, |s, m| {
        (0..64_u8)
            .map(|flags| {
                let port = 20000 + u16::from(flags);
                s.via_host(&Tcp::new(port, 80, flags).packet(&s.ends(s.world), m))
            })
            .collect()
    })
    .classic(Through::Some);
    book.frames("P08", "all 64 sets of TCP flags to the host", Point::Host, NEW, |s, m| {
        (0..64_u8)
            .map(|flags| {
                let port = 21000 + u16::from(flags);
                s.via_host(&Tcp::new(port, 22, flags).packet(&s.ends(s.host.ipv4), m))
            })
            .collect()
    });
    book.add(
        "P22",
        "SYN on a tuple closed by FIN",
        Point::World,
        CLOSED,
        Step::Scenario(Scenario::SynAfterFin),
    )
    .classic(Through::Nothing);
    book.add(
        "P22",
        "SYN on a tuple closed by RST",
        Point::World,
        CLOSED,
        Step::Scenario(Scenario::SynAfterReset),
    );
    book.frames(
        "P38",
        "data on SYN, urgent data, Fast Open, odd options",
        Point::World,
        NEW,
        |s, m| {
            let base = Tcp::new(22000, 80, flag::SYN);
            let fast_open = vec![34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
            [
                base.clone(),
                Tcp { source: 22001, flags: flag::SYN | 0x20, urgent: 4, ..base.clone() },
                Tcp { source: 22002, options: fast_open, ..base.clone() },
                Tcp { source: 22003, options: vec![2, 4, 0, 1], window: 0, ..base.clone() },
                Tcp { source: 22004, options: vec![253; 40], ..base },
            ]
            .map(|tcp| s.via_host(&tcp.packet(&s.ends(s.world), m)))
            .into()
        },
    )
    .classic(Through::Nothing);
}
