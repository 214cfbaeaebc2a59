//! Programs on interfaces. With TCX each sits there by a link, which is pinned; without TCX, as a
//! filter of the interface's clsact qdisc. Both stay when this process ends. Ours run before any
//! other program, and a hook that has one of ours is never empty until it is detached.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    bpf::{self, OnHook, TcxHook},
    clsact,
    load::{LoadError, Programs, Reload},
    pins::{self, Anchors, PinError, Pins},
};

/// A map that every program of ours uses, and hardly one of others.
const OUR_MAP: &str = "UNCOUNTED";

/// The loaded programs and where they sit.
pub struct Hooks {
    programs: Programs,
    /// The same programs once more: the kernel takes no program twice on one hook, so one that has
    /// to move to the front is first joined there by its twin.
    twins: Option<Programs>,
    reload: Reload,
    pins: Pins,
    anchors: Anchors,
    tcx: bool,
    /// Filters that this process put in place: one that is not first any more was displaced.
    placed: BTreeSet<(u32, Hook)>,
    /// What is ours; the link with TCX, `None` without.
    attached: BTreeMap<(u32, Hook), Option<OwnedFd>>,
}

/// Whether a hook sees what enters the interface.
#[must_use]
pub const fn is_ingress(hook: Hook) -> bool {
    matches!(hook, Hook::FromGuest | Hook::FromBridge)
}

pub(super) const fn tcx_hook(hook: Hook) -> TcxHook {
    if is_ingress(hook) { TcxHook::Ingress } else { TcxHook::Egress }
}

impl Hooks {
    pub(super) fn new(
        programs: Programs,
        reload: Reload,
        pins: Pins,
        anchors: Anchors,
        tcx: bool,
    ) -> Self {
        Self {
            programs,
            twins: None,
            reload,
            pins,
            anchors,
            tcx,
            placed: BTreeSet::new(),
            attached: BTreeMap::new(),
        }
    }

    /// Whether TCX links are used; otherwise clsact filters.
    #[must_use]
    pub const fn uses_tcx(&self) -> bool {
        self.tcx
    }

    /// Kernel's id of a program.
    #[must_use]
    pub fn program_id(&self, hook: Hook) -> u32 {
        self.programs.id(hook)
    }

    /// Whether a program is this one, or its twin.
    #[must_use]
    pub fn is_current(&self, hook: Hook, program: u32) -> bool {
        let twin = self.twins.as_ref().is_some_and(|twins| twins.id(hook) == program);
        twin || self.program_id(hook) == program
    }

    /// Whether a veth has a program of ours, this daemon's or an earlier one's, whose pin may be lost.
    #[must_use]
    pub fn holds(&self, ifindex: u32) -> bool {
        [Hook::FromGuest, Hook::ToGuest].into_iter().any(|hook| {
            let sits =
                || query(ifindex, hook).is_ok_and(|is| is.iter().any(|is| is_ours(*is, hook)));
            self.attached.contains_key(&(ifindex, hook)) || (self.tcx && sits())
        })
    }

    /// What is attached, by this process or by an earlier one whose it took over.
    pub fn held(&self) -> impl Iterator<Item = (u32, Hook)> + '_ {
        self.attached.keys().copied()
    }

    /// Takes over what an earlier daemon left: links, or else these filters. Each hook whose interface
    /// `is_known` to this daemon's maps goes on with this daemon's program, from one frame to the next;
    /// the others as [`Hooks::hold`] has it. Returns how many were taken over.
    pub fn adopt(
        &mut self,
        filters: &[(u32, Hook)],
        is_known: impl Fn(u32, Hook) -> bool,
    ) -> Result<usize, KernelError> {
        self.hold(filters)?;
        let held: Vec<(u32, Hook)> = self.held().filter(|(i, hook)| is_known(*i, *hook)).collect();
        for (ifindex, hook) in &held {
            match self.attach(*ifindex, *hook) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        Ok(held.len())
    }

    /// Takes over what an earlier daemon left with the programs that are there: each hook gets this
    /// daemon's by [`Hooks::attach`], once its interface has an entry in this daemon's maps.
    pub fn hold(&mut self, filters: &[(u32, Hook)]) -> Result<(), KernelError> {
        if self.tcx {
            self.open_links(|_, link, ifindex, hook| {
                let info = bpf::link_info(link.as_fd())?;
                Ok((info.ifindex == ifindex && info.hook == tcx_hook(hook)).then_some(link))
            })?;
        }
        self.attached.extend(filters.iter().map(|at| (*at, None)));
        Ok(())
    }

    fn open_links(
        &mut self,
        take: impl Fn(&Self, OwnedFd, u32, Hook) -> io::Result<Option<OwnedFd>>,
    ) -> Result<(), PinError> {
        for (ifindex, hook, path) in self.pins.links()? {
            let adopted = bpf::open_pin(&path).and_then(|link| take(self, link, ifindex, hook));
            match adopted {
                Ok(Some(link)) => drop(self.attached.insert((ifindex, hook), Some(link))),
                // Its interface is gone.
                Ok(None) => pins::remove(&path)?,
                // It stays where it is: what it holds is found again by its interface.
                Err(error) => {
                    tracing::warn!(%error, pin = %path.display(), "cannot take this link over");
                }
            }
        }
        Ok(())
    }

    /// Puts a program on an interface, first in its hook. Blocks: the kernel needs 10 ms or so, and
    /// holds its lock on network configuration.
    pub fn attach(&mut self, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        if !self.tcx {
            let program = self.programs.program(hook).map_err(|source| {
                KernelError::AttachFilter { program: hook.name(), ifindex, source }
            })?;
            clsact::attach(program, ifindex, hook, self.placed.contains(&(ifindex, hook)))?;
            self.attached.insert((ifindex, hook), None);
            self.placed.insert((ifindex, hook));
            return Ok(());
        }
        let is = query(ifindex, hook)?;
        if let Some(first) = is.first()
            && self.is_current(hook, first.program)
            && self.attached.contains_key(&(ifindex, hook))
        {
            return Ok(());
        }
        let failed = |source| KernelError::Attach { program: hook.name(), ifindex, source };
        if self.updates_first(ifindex, hook, &is).map_err(failed)? {
            return Ok(());
        }
        // A link whose pin was lost, or hidden by another file system mounted on it.
        if !self.attached.contains_key(&(ifindex, hook))
            && let Some(stray) = is.iter().find(|is| is_ours(**is, hook))
        {
            let link = bpf::link_by_id(stray.link).map_err(failed)?;
            if let Some(link) = self.take_over(link, ifindex, hook).map_err(failed)? {
                self.keep(ifindex, hook, link)?;
                return self.attach(ifindex, hook);
            }
        }
        let link = self.attach_first(ifindex, hook, &is)?;
        // The old one, if there was one, goes now: the new one is in front of it.
        self.keep(ifindex, hook, link)
    }

    /// Takes a program off an interface. Idempotent; an interface that is gone is no error.
    pub fn detach(&mut self, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        self.placed.remove(&(ifindex, hook));
        match self.attached.remove(&(ifindex, hook)) {
            Some(Some(link)) => {
                // Fails only when the interface is gone.
                let _gone = bpf::detach_link(link.as_fd());
                pins::remove(&self.pins.link(ifindex, hook))?;
            }
            Some(None) => clsact::detach(ifindex, hook),
            None => {}
        }
        Ok(())
    }

    /// Ids of all programs on the interface's side that `hook` is on, as the kernel reports them.
    /// TCX only.
    pub fn list(&self, ifindex: u32, hook: Hook) -> Result<Vec<u32>, KernelError> {
        Ok(query(ifindex, hook)?.iter().map(|is| is.program).collect())
    }

    /// Ids of the programs that sit on these hooks.
    #[must_use]
    pub fn sitting(&self, at: &BTreeSet<(u32, Hook)>) -> Vec<(Hook, u32)> {
        let first = |(ifindex, hook): &(u32, Hook)| {
            let seen = if self.tcx { query(*ifindex, *hook).ok() } else { None };
            let program = seen.and_then(|seen| seen.first().map(|first| first.program));
            (*hook, program.unwrap_or(self.program_id(*hook)))
        };
        at.iter().map(first).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether every map and every link is pinned where the next daemon looks.
    #[must_use]
    pub fn are_pinned(&self) -> bool {
        let Ok(pinned) = self.pins.links() else { return false };
        let links = self.attached.iter().filter(|(_, link)| link.is_some());
        self.anchors.are_pinned(&self.pins)
            && links
                .map(|(key, _)| key)
                .all(|(ifindex, hook)| pinned.iter().any(|pin| (pin.0, pin.1) == (*ifindex, *hook)))
    }

    /// Pins what is not pinned.
    pub fn pin(&mut self) -> Result<(), KernelError> {
        self.pins.ensure()?;
        self.anchors.pin(&self.pins)?;
        let pinned = self.pins.links()?;
        for ((ifindex, hook), link) in &self.attached {
            if let Some(link) = link
                && !pinned.iter().any(|pin| (pin.0, pin.1) == (*ifindex, *hook))
            {
                self.pins.put(link.as_fd(), &self.pins.link(*ifindex, *hook))?;
            }
        }
        Ok(())
    }

    /// Where a link of ours is first but runs another program, an earlier daemon's, it gets this
    /// daemon's; whether that was so.
    fn updates_first(&self, ifindex: u32, hook: Hook, is: &[OnHook]) -> io::Result<bool> {
        let (Some(Some(link)), Some(first)) = (self.attached.get(&(ifindex, hook)), is.first())
        else {
            return Ok(false);
        };
        let first = bpf::link_info(link.as_fd())?.id == first.link;
        if first {
            bpf::update_link(link.as_fd(), self.programs.fd(hook)?)?;
        }
        Ok(first)
    }

    /// Has a link run this daemon's program; `None` if the link's interface is gone.
    fn take_over(&self, link: OwnedFd, ifindex: u32, hook: Hook) -> io::Result<Option<OwnedFd>> {
        let info = bpf::link_info(link.as_fd())?;
        if info.ifindex != ifindex || info.hook != tcx_hook(hook) {
            return Ok(None);
        }
        if !self.is_current(hook, info.program) {
            bpf::update_link(link.as_fd(), self.programs.fd(hook)?)?;
        }
        Ok(Some(link))
    }

    /// A new link, before all others.
    fn attach_first(
        &mut self,
        ifindex: u32,
        hook: Hook,
        is: &[OnHook],
    ) -> Result<OwnedFd, KernelError> {
        let current = self.program_id(hook);
        let programs = if is.iter().any(|is| is.program == current) {
            if self.twins.is_none() {
                // They find the maps by their pins, and would make one that has none.
                self.pin()?;
                self.twins = Some((self.reload)().map_err(|error| no_twin(ifindex, hook, error))?);
            }
            self.twins.as_ref().unwrap_or(&self.programs)
        } else {
            &self.programs
        };
        programs
            .fd(hook)
            .and_then(|program| bpf::attach_tcx(program, ifindex, tcx_hook(hook)))
            .map_err(|source| KernelError::Attach { program: hook.name(), ifindex, source })
    }

    fn keep(&mut self, ifindex: u32, hook: Hook, link: OwnedFd) -> Result<(), KernelError> {
        let pinned = self.pins.put(link.as_fd(), &self.pins.link(ifindex, hook));
        if let Some(Some(old)) = self.attached.insert((ifindex, hook), Some(link)) {
            // At once: closing its descriptor would do it some time later. Fails only when its
            // interface is gone.
            let _gone = bpf::detach_link(old.as_fd());
        }
        Ok(pinned?)
    }
}

fn query(ifindex: u32, hook: Hook) -> Result<Vec<OnHook>, KernelError> {
    bpf::query_tcx(ifindex, tcx_hook(hook)).map_err(|source| KernelError::Query { ifindex, source })
}

fn no_twin(ifindex: u32, hook: Hook, error: LoadError) -> KernelError {
    let source = io::Error::other(error);
    KernelError::Attach { program: hook.name(), ifindex, source }
}

/// A program of ours that an earlier daemon attached.
pub(super) fn is_ours(is: OnHook, hook: Hook) -> bool {
    let names = bpf::program_by_id(is.program).and_then(|fd| bpf::program_names(fd.as_fd()));
    is.link != 0
        && names
            .is_ok_and(|(name, maps)| name == hook.name() && maps.iter().any(|map| map == OUR_MAP))
}
