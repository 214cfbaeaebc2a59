//! What rtnetlink says exists, and the settings it can change. The adapter beside `kernel`; it
//! decides nothing.

pub mod conntrack;
pub mod filters;
pub mod links;
pub mod netns;
pub mod ports;
pub mod routes;
mod table;

use rtnetlink::Error as RtError;

/// Failure of a netlink request.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// The kernel refused a request.
    #[error("netlink: cannot {operation} (interface {ifindex})")]
    Request {
        /// What was asked.
        operation: &'static str,
        /// Interface concerned; 0: all.
        ifindex: u32,
        /// The kernel's answer.
        #[source]
        source: RtError,
    },
    /// A namespace's path cannot be opened.
    #[error("cannot open the network namespace {path}")]
    Namespace {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl NetlinkError {
    pub(crate) fn request(operation: &'static str, ifindex: u32) -> impl FnOnce(RtError) -> Self {
        move |source| Self::Request { operation, ifindex, source }
    }

    /// Whether the kernel said that the interface does not exist (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Request { source: RtError::NetlinkError(message), .. } => {
                matches!(
                    message.raw_code().unsigned_abs().cast_signed(),
                    libc::ENODEV | libc::ENXIO
                )
            }
            _ => false,
        }
    }
}

/// Opens a request socket and starts its task on the current runtime.
pub fn connect() -> Result<rtnetlink::Handle, NetlinkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
    tokio::spawn(connection);
    Ok(handle)
}
