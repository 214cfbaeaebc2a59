//! The table itself: a line for each route.

use super::{
    Answer::{Deny, Judge},
    Op, Route, Why,
};

/// For both principals.
const fn both(method: &'static str, path: &'static str, op: Op) -> Route {
    Route { method, path, hub: Judge(op), user: Judge(op) }
}

/// For users; a hub has no use for it.
const fn user(method: &'static str, path: &'static str, op: Op) -> Route {
    Route { method, path, hub: Deny(&NOT_A_HUBS), user: Judge(op) }
}

/// For nobody.
const fn none(method: &'static str, path: &'static str, why: &'static Why) -> Route {
    Route { method, path, hub: Deny(why), user: Deny(why) }
}

const fn why(rule: &'static str, reason: &'static str) -> Why {
    Why { rule, reason, is_missing: false }
}

const NOT_A_HUBS: Why = why(
    "route.hub",
    "a hub starts, watches and removes its guests; this call is for users' sockets",
);
const ARCHIVE: Why = why(
    "route.archive",
    "files are not copied in or out through the engine; use a volume, or `docker exec -i` with tar",
);
const AUTH: Why = why(
    "route.auth",
    "the engine does not ask registries for a guest; say the login with the pull",
);
const BUILD: Why = why(
    "route.build",
    "only the older builder is offered, which keeps nothing that could be pruned or cancelled",
);
const CHANGES: Why = why("route.changes", "differences of file systems are not shown");
const CHECKPOINT: Why = why("route.checkpoint", "checkpoints are files of the host");
const CLUSTER: Why = why(
    "route.swarm",
    "swarms, their nodes, services, tasks, secrets and configs are not for guests",
);
const COMMIT: Why = why("route.commit", "containers are not made images; images come by pull");
const DEBUG: Why = why("route.debug", "the engine's own state is not shown");
const DISK: Why = why("route.system-df", "the host's disk is not shown");
const DISTRIBUTION: Why =
    why("route.distribution", "the engine does not ask registries for a guest; pull the image");
const EXPORT: Why = why("route.export", "images and file systems are not exported");
const LOAD: Why = why("route.load", "images come by pull, not from files");
const PAUSE: Why = why("route.pause", "a container that is paused keeps its memory; stop it");
const NO_PLUGIN: Why =
    Why { rule: "route.plugins", reason: "there is no such object here", is_missing: true };
const PLUGIN: Why = why("route.plugins", "plugins run with the rights of the host");
const PRUNE_IMAGES: Why =
    why("route.images-prune", "images are shared; remove your own tags one by one");
const PUSH: Why = why("route.push", "images are not pushed from here");
const SEARCH: Why = why("route.search", "the engine does not search registries for a guest");
const SESSION: Why =
    why("route.session", "BuildKit's sessions carry calls that nobody sees; set DOCKER_BUILDKIT=0");
const VOLUME_UPDATE: Why = why("route.volume-update", "cluster volumes are not for guests");
const OPTIONS: Why = why("route.options", "browsers have no business here");

/// All of them.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    both("GET",     "/_ping", Op::Ping),
    both("HEAD",    "/_ping", Op::Ping),
    both("GET",     "/version", Op::Version),
    both("GET",     "/info", Op::Info),
    user("GET",     "/events", Op::Events),
    none("GET",     "/system/df", &DISK),
    none("POST",    "/auth", &AUTH),
    none("OPTIONS", "/{image}", &OPTIONS),

    both("GET",     "/containers/json", Op::ContainerList),
    both("POST",    "/containers/create", Op::ContainerCreate),
    both("GET",     "/containers/{name}/json", Op::ContainerInspect),
    both("POST",    "/containers/{name}/start", Op::ContainerStart),
    both("POST",    "/containers/{name}/stop", Op::ContainerStop),
    both("POST",    "/containers/{name}/restart", Op::ContainerRestart),
    both("POST",    "/containers/{name}/kill", Op::ContainerKill),
    both("DELETE",  "/containers/{name}", Op::ContainerRemove),
    both("GET",     "/containers/{name}/logs", Op::ContainerLogs),
    both("POST",    "/containers/{name}/wait", Op::ContainerWait),
    user("POST",    "/containers/{name}/attach", Op::ContainerAttach),
    user("GET",     "/containers/{name}/attach/ws", Op::ContainerAttachWebSocket),
    user("POST",    "/containers/{name}/resize", Op::ContainerResize),
    user("GET",     "/containers/{name}/top", Op::ContainerTop),
    user("GET",     "/containers/{name}/stats", Op::ContainerStats),
    user("POST",    "/containers/{name}/rename", Op::ContainerRename),
    user("POST",    "/containers/{name}/update", Op::ContainerUpdate),
    user("POST",    "/containers/prune", Op::ContainerPrune),
    user("POST",    "/containers/{name}/exec", Op::ExecCreate),
    user("POST",    "/exec/{name}/start", Op::ExecStart),
    user("POST",    "/exec/{name}/resize", Op::ExecResize),
    user("GET",     "/exec/{name}/json", Op::ExecInspect),
    none("POST",    "/containers/{name}/pause", &PAUSE),
    none("POST",    "/containers/{name}/unpause", &PAUSE),
    none("GET",     "/containers/{name}/changes", &CHANGES),
    none("GET",     "/containers/{name}/export", &EXPORT),
    none("HEAD",    "/containers/{name}/archive", &ARCHIVE),
    none("GET",     "/containers/{name}/archive", &ARCHIVE),
    none("PUT",     "/containers/{name}/archive", &ARCHIVE),
    none("POST",    "/containers/{name}/copy", &ARCHIVE),
    none("GET",     "/containers/{name}/checkpoints", &CHECKPOINT),
    none("POST",    "/containers/{name}/checkpoints", &CHECKPOINT),
    none("DELETE",  "/containers/{name}/checkpoints/{checkpoint}", &CHECKPOINT),
    none("POST",    "/commit", &COMMIT),

    both("GET",     "/images/json", Op::ImageList),
    both("GET",     "/images/{image}/json", Op::ImageInspect),
    user("GET",     "/images/{image}/history", Op::ImageHistory),
    both("POST",    "/images/create", Op::ImagePull),
    user("POST",    "/images/{image}/tag", Op::ImageTag),
    user("DELETE",  "/images/{image}", Op::ImageRemove),
    none("GET",     "/images/search", &SEARCH),
    none("GET",     "/images/get", &EXPORT),
    none("GET",     "/images/{image}/get", &EXPORT),
    none("POST",    "/images/load", &LOAD),
    none("POST",    "/images/{image}/push", &PUSH),
    none("POST",    "/images/prune", &PRUNE_IMAGES),
    none("GET",     "/distribution/{image}/json", &DISTRIBUTION),
    user("POST",    "/build", Op::ImageBuild),
    none("POST",    "/build/prune", &BUILD),
    none("POST",    "/build/cancel", &BUILD),
    none("POST",    "/session", &SESSION),
    none("POST",    "/grpc", &SESSION),

    both("GET",     "/volumes", Op::VolumeList),
    both("POST",    "/volumes/create", Op::VolumeCreate),
    both("GET",     "/volumes/{name}", Op::VolumeInspect),
    both("DELETE",  "/volumes/{name}", Op::VolumeRemove),
    user("POST",    "/volumes/prune", Op::VolumePrune),
    none("PUT",     "/volumes/{name}", &VOLUME_UPDATE),

    user("GET",     "/networks", Op::NetworkList),
    user("POST",    "/networks/create", Op::NetworkCreate),
    both("GET",     "/networks/{name}", Op::NetworkInspect),
    user("POST",    "/networks/{name}/connect", Op::NetworkConnect),
    user("POST",    "/networks/{name}/disconnect", Op::NetworkDisconnect),
    user("DELETE",  "/networks/{name}", Op::NetworkRemove),
    user("POST",    "/networks/prune", Op::NetworkPrune),

    none("GET",     "/plugins", &PLUGIN),
    none("GET",     "/plugins/privileges", &PLUGIN),
    none("GET",     "/plugins/{image}/json", &NO_PLUGIN),
    none("POST",    "/plugins/pull", &PLUGIN),
    none("POST",    "/plugins/create", &PLUGIN),
    none("POST",    "/plugins/{image}/enable", &PLUGIN),
    none("POST",    "/plugins/{image}/disable", &PLUGIN),
    none("POST",    "/plugins/{image}/push", &PLUGIN),
    none("POST",    "/plugins/{image}/upgrade", &PLUGIN),
    none("POST",    "/plugins/{image}/set", &PLUGIN),
    none("DELETE",  "/plugins/{image}", &PLUGIN),

    none("GET",     "/swarm", &CLUSTER),
    none("GET",     "/swarm/unlockkey", &CLUSTER),
    none("POST",    "/swarm/init", &CLUSTER),
    none("POST",    "/swarm/join", &CLUSTER),
    none("POST",    "/swarm/leave", &CLUSTER),
    none("POST",    "/swarm/update", &CLUSTER),
    none("POST",    "/swarm/unlock", &CLUSTER),
    none("GET",     "/nodes", &CLUSTER),
    none("GET",     "/nodes/{name}", &CLUSTER),
    none("DELETE",  "/nodes/{name}", &CLUSTER),
    none("POST",    "/nodes/{name}/update", &CLUSTER),
    none("GET",     "/services", &CLUSTER),
    none("POST",    "/services/create", &CLUSTER),
    none("GET",     "/services/{name}", &CLUSTER),
    none("DELETE",  "/services/{name}", &CLUSTER),
    none("POST",    "/services/{name}/update", &CLUSTER),
    none("GET",     "/services/{name}/logs", &CLUSTER),
    none("GET",     "/tasks", &CLUSTER),
    none("GET",     "/tasks/{name}", &CLUSTER),
    none("GET",     "/tasks/{name}/logs", &CLUSTER),
    none("GET",     "/secrets", &CLUSTER),
    none("POST",    "/secrets/create", &CLUSTER),
    none("GET",     "/secrets/{name}", &CLUSTER),
    none("DELETE",  "/secrets/{name}", &CLUSTER),
    none("POST",    "/secrets/{name}/update", &CLUSTER),
    none("GET",     "/configs", &CLUSTER),
    none("POST",    "/configs/create", &CLUSTER),
    none("GET",     "/configs/{name}", &CLUSTER),
    none("DELETE",  "/configs/{name}", &CLUSTER),
    none("POST",    "/configs/{name}/update", &CLUSTER),

    none("GET",     "/debug/vars", &DEBUG),
    none("GET",     "/debug/pprof", &DEBUG),
    none("GET",     "/debug/pprof/{name}", &DEBUG),
];
