//! What a guest's processes do, where the process is known: before there is a packet. The packet path
//! needs none of this.

mod connect;
mod exec;
mod socket;
mod who;

pub use connect::{Destination, Socket, judge};
pub use exec::exec;
pub use socket::{may_connect, may_receive, may_send};
