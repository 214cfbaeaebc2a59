//! The file in which a daemon leaves to the next one what is open for a while.

use std::{fs, io, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use crate::policy::allowance::Allowances;

/// Its name in the state directory.
pub(super) const NAME: &str = "allowances.json";
/// What it is called while it is written.
const NEW: &str = "allowances.json.new";

/// What was open when the last daemon ended, also what is over by now. An error is for people, and then nothing is.
pub(super) fn load(path: &Path) -> Result<Allowances, String> {
    let failed = |why: String| {
        format!(
            "nobody knows what was allowed to guests for a while, so nothing of it is: {}: {why}; what is wrong there goes with \
             the next `enforcer allow`",
            path.display()
        )
    };
    match fs::read_to_string(path) {
        Ok(text) => Allowances::read(&text).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Allowances::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Takes it away.
pub(in super::super) fn remove(state_dir: &Path) -> io::Result<()> {
    for name in [NAME, NEW] {
        match fs::remove_file(state_dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes it: all of it, or nothing; it is there after a power cut.
pub(super) fn put(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_file_name(NEW);
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)?;
    // It names guests.
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_what_cannot_be_read_opens_nothing_and_is_told() {
        let dir = std::env::temp_dir().join(format!("enforcer-allowances-{}", std::process::id()));
        let path = dir.join(NAME);
        assert_eq!(load(&path), Ok(Allowances::default()), "none were written yet");
        put(&path, "{\"next\":4,\"all\":[]}").expect("written");
        assert!(load(&path).is_ok_and(|read| read.is_empty()));
        fs::write(&path, "{").expect("spoilt");
        assert!(load(&path).is_err_and(|why| why.contains("nobody knows what was allowed")));
        fs::write(path.with_file_name(NEW), "").expect("half written");
        remove(&dir).expect("removed");
        remove(&dir).expect("nothing is there any more");
        assert!(fs::remove_dir(&dir).is_ok(), "nothing is left behind");
    }
}
