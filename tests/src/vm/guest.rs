//! A guest: a thread in a network namespace of its own, with an actor in it.

use std::{
    ffi::CStr,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use futures_util::TryStreamExt as _;
use rtnetlink::LinkUnspec;

use crate::{frames::Mac, harness::client::Actor};

/// A network namespace and the actor in it. It lives as long as the process.
pub(super) struct Guest {
    /// The actor.
    pub(super) actor: Actor,
    /// Where the namespace can be opened.
    pub(super) sandbox: PathBuf,
}

/// What its interface becomes.
#[derive(Clone)]
pub(super) struct Interface {
    /// Name that it comes with.
    pub(super) came_as: String,
    /// Name that it gets.
    pub(super) name: String,
    /// MAC address.
    pub(super) mac: Mac,
    /// Addresses and prefix lengths.
    pub(super) addresses: Vec<(IpAddr, u8)>,
}

/// Moves this thread, and those it will start, into a new network namespace.
pub(super) fn leave_namespace() -> io::Result<()> {
    // SAFETY: changes only this thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Moves this thread, and those it will start, into a new mount namespace: what they mount is seen
/// nowhere else.
pub(super) fn own_mounts() -> io::Result<()> {
    // SAFETY: changes only this thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)
}

/// Mounts a new BPF file system at the usual place.
pub(super) fn mount_bpffs() -> io::Result<()> {
    mount(c"bpf", c"/sys/fs/bpf", Some(c"bpf"), 0)
}

fn mount(from: &CStr, to: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> io::Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: C strings that live through the call, or null where the kernel takes null.
    let done = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind, flags, std::ptr::null()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where this thread's network namespace can be opened.
fn own_namespace() -> PathBuf {
    // SAFETY: takes nothing, cannot fail.
    let thread = unsafe { libc::gettid() };
    format!("/proc/{}/task/{thread}/ns/net", std::process::id()).into()
}

/// Starts an actor in this thread's namespace.
pub(super) fn host_actor(directory: &Path) -> Result<Actor> {
    let socket = directory.join("host.sock");
    let at = socket.clone();
    thread::spawn(move || report(enforcer_actor::serve(&at)));
    Actor::wait(socket)
}

impl Guest {
    /// Makes one; `bring` puts its interface into the namespace at the path that it is given.
    pub(super) fn create(
        directory: &Path,
        interface: Interface,
        bring: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let socket = directory.join(format!("{}.sock", interface.came_as));
        let (made, namespace) = mpsc::channel();
        let (go, brought) = mpsc::channel::<()>();
        let at = socket.clone();
        thread::spawn(move || {
            report((|| {
                leave_namespace()?;
                made.send(own_namespace())?;
                brought.recv()?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(configure(&interface))?;
                drop(runtime);
                enforcer_actor::serve(&at)
            })());
        });
        let sandbox = namespace.recv().context("the guest's thread ended")?;
        bring(&sandbox)?;
        go.send(()).context("the guest's thread ended")?;
        Ok(Self { actor: Actor::wait(socket)?, sandbox })
    }
}

fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        println!("an actor ended: {error:#}");
    }
}

/// Names the interface, gives it its addresses and starts it; loopback as well.
async fn configure(interface: &Interface) -> Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let links: Vec<_> = handle.link().get().execute().try_collect().await?;
    let found = links.iter().find(|link| {
        link.attributes.contains(&rtnetlink::packet_route::link::LinkAttribute::IfName(
            interface.came_as.clone(),
        ))
    });
    let index = found.context("the interface did not come")?.header.index;
    let named = LinkUnspec::new_with_index(index)
        .name(interface.name.clone())
        .address(interface.mac.to_vec());
    handle.link().set(named.build()).execute().await.context("name")?;
    for (address, prefix) in &interface.addresses {
        handle.address().add(index, *address, *prefix).execute().await.context("address")?;
    }
    for index in [1, index] {
        let up = LinkUnspec::new_with_index(index).up();
        handle.link().set(up.build()).execute().await.context("up")?;
    }
    ensure!(!interface.addresses.is_empty(), "an interface without addresses");
    Ok(())
}
