//! `enforcer doctor`: looks at this host and says what is wrong with it, and what mends it.

use serde_json::json;

use super::{DoctorArgs, Exit};
use crate::{
    audit::record::shown,
    doctor::{Finding, Grade, examine, gather, worst},
};

/// Looks at everything, and changes nothing.
pub(super) async fn doctor(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let findings = examine(&gather(&args.config).await);
    if args.json {
        let answer = json!({ "grade": worst(&findings).name(), "checks": findings });
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", render(&findings));
    }
    Ok(exit(worst(&findings)))
}

/// A warning is no failure: there are hosts where it cannot be helped.
fn exit(worst: Grade) -> Exit {
    match worst {
        Grade::Ok | Grade::Warn => Exit::Ok,
        Grade::Fail => Exit::Preflight,
    }
}

/// One line for what is well, three for what is not.
fn line(finding: &Finding, width: usize) -> String {
    let Finding { check, grade, found, means, mend } = finding;
    // Errors quote what others wrote: paths, answers, lines of a config.
    let mut told: Vec<String> = found.lines().map(shown).collect();
    for (word, more) in [("so", means), ("mend", mend)] {
        if !more.is_empty() {
            told.push(format!("{word}: {}", shown(more)));
        }
    }
    let indent = format!("\n{:width$}", "", width = width + 8);
    format!("{:<5} {check:<width$}  {}\n", grade.name(), told.join(&indent))
}

/// All lines, and how many of each grade.
fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let lines = findings.iter().map(|finding| line(finding, width));
    let text: String = lines.collect();
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (ok, warn, fail) = (count(Grade::Ok), count(Grade::Warn), count(Grade::Fail));
    text + &format!("{ok} ok, {warn} warn, {fail} fail\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(grade: Grade, found: &str) -> Finding {
        let (means, mend) = ("no guest starts".to_owned(), "mount it".to_owned());
        Finding { check: "bpffs", grade, found: found.to_owned(), means, mend }
    }

    #[test]
    fn a_failure_is_told_with_what_it_means_and_what_mends_it() {
        let well = Finding {
            check: "kernel",
            means: String::new(),
            mend: String::new(),
            ..finding(Grade::Ok, "Linux")
        };
        let text = render(&[well, finding(Grade::Fail, "not\nthere \u{1b}[2J")]);
        let expected = "ok    kernel  Linux\n\
                        fail  bpffs   not\n\
                        \x20             there ?[2J\n\
                        \x20             so: no guest starts\n\
                        \x20             mend: mount it\n\
                        1 ok, 0 warn, 1 fail\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_a_failure_is_no_success() {
        assert_eq!(exit(Grade::Ok), Exit::Ok);
        assert_eq!(exit(Grade::Warn), Exit::Ok);
        assert_eq!(exit(Grade::Fail), Exit::Preflight);
        assert_eq!(exit(worst(&[])), Exit::Preflight);
    }
}
