//! What follows from whether the kernel refuses guests unix sockets that are not theirs (promise S4).

use crate::{
    audit::record::{Body, Unseen},
    config::KernelProof,
    control::path::PacketPath,
    kernel::{
        features::{Features, PreflightError},
        sockets::Proof,
    },
    model::status::KernelProofStatus,
};

/// Before anything is changed: what is required and cannot be.
pub(super) fn preflight(features: &Features, wanted: KernelProof) -> Result<(), PreflightError> {
    match (wanted, &features.no_bpf_lsm) {
        (KernelProof::Required, Some(why)) => {
            Err(PreflightError::NoKernelProof { why: why.clone() })
        }
        _ => Ok(()),
    }
}

/// At the start: an error where it is required and does not hold, otherwise the record that says so. Blocks
/// for some milliseconds.
pub(super) fn prove(
    path: &PacketPath,
    wanted: KernelProof,
) -> Result<Option<Body>, PreflightError> {
    let why = match path.prove() {
        Proof::Holds => return Ok(None),
        Proof::Inactive { why } | Proof::Broken { why } => why,
    };
    if wanted == KernelProof::Required {
        return Err(PreflightError::NoKernelProof { why });
    }
    tracing::warn!(why, "the kernel does not guard unix sockets (promise S4)");
    Ok(Some(Body::Unseen(Unseen { what: "kernel_proof".to_owned(), why, ..Unseen::default() })))
}

/// What `status` says, and why that is not enforcing, if it is not. `uncovered` are guests whose cgroup is
/// not known: nothing of theirs is judged. Pure.
pub(super) fn grade(
    proof: Proof,
    uncovered: &[String],
    wanted: KernelProof,
) -> (KernelProofStatus, Option<String>) {
    let (why, is_broken) = match proof {
        Proof::Holds if uncovered.is_empty() => {
            return (KernelProofStatus { active: true, why: String::new() }, None);
        }
        Proof::Holds => {
            let guests = uncovered.join("; ");
            (format!("not for every guest, as their cgroups are not known: {guests}"), false)
        }
        Proof::Inactive { why } => (why, false),
        Proof::Broken { why } => (why, true),
    };
    let is_needed = is_broken || wanted == KernelProof::Required;
    let reason = is_needed.then(|| format!("kernel proof: {why}"));
    (KernelProofStatus { active: false, why }, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o1_s4_what_runs_and_does_not_refuse_is_not_enforcing_what_is_absent_only_where_required() {
        use KernelProof::{Auto, Required};
        let inactive = || Proof::Inactive { why: "no bpf".to_owned() };
        let broken = || Proof::Broken { why: "it connected".to_owned() };
        let ben = ["processes of ben: cgroup v1".to_owned()];
        // Proof, guests without a cgroup, wanted -> active, not enforcing.
        let cases = [
            (Proof::Holds, &[][..], Auto, true, false),
            (Proof::Holds, &[], Required, true, false),
            (Proof::Holds, &ben, Auto, false, false),
            (Proof::Holds, &ben, Required, false, true),
            (inactive(), &[], Auto, false, false),
            (inactive(), &[], Required, false, true),
            (broken(), &[], Auto, false, true),
            (broken(), &[], Required, false, true),
        ];
        for (proof, uncovered, wanted, active, bad) in cases {
            let case = format!("{proof:?} {uncovered:?} {wanted:?}");
            let (status, reason) = grade(proof, uncovered, wanted);
            assert_eq!((status.active, reason.is_some()), (active, bad), "{case}");
            assert_eq!(status.why.is_empty(), active, "{case}");
            assert!(uncovered.is_empty() || status.why.contains("ben"), "{case}");
        }
    }

    #[test]
    fn s16_a_kernel_without_bpf_among_its_modules_is_refused_before_anything_is_changed() {
        let features = |no_bpf_lsm: Option<&str>| Features {
            release: "6.1".to_owned(),
            tcx: false,
            no_bpf_lsm: no_bpf_lsm.map(str::to_owned),
        };
        assert!(preflight(&features(None), KernelProof::Required).is_ok());
        assert!(preflight(&features(Some("no bpf")), KernelProof::Auto).is_ok());
        let error = preflight(&features(Some("no bpf")), KernelProof::Required).expect_err("no");
        assert!(error.to_string().contains("no bpf; set it to \"auto\""), "{error}");
    }
}
