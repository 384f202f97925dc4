//! The cluster's keys, from files or a variable. No error contains a key.

use std::path::{Path, PathBuf};

use counter_net::{ClusterKey, ClusterKeyError};

use crate::access::token::file_name;

const FLAG: &str = "--cluster-key-file";
const VARIABLE: &str = "COUNTER_CLUSTER_KEY";

const NO_FILE: &str =
    "the name of a file with the cluster's key is empty: write FILE, or FILE,FILE for several keys";

/// Returns the keys of this node, the preferred one first. They come from the files, or else from
/// the variable.
///
/// # Errors
///
/// If a text is not a key, or the files and the variable disagree.
pub(crate) fn cluster_keys<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
) -> Result<Vec<ClusterKey>, String> {
    // An empty variable is an error: the key may have failed to arrive.
    let variable = std::env::var_os(VARIABLE).map(|keys| keys.to_string_lossy().into_owned());
    read(files, variable.as_deref())
}

fn read<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
    variable: Option<&str>,
) -> Result<Vec<ClusterKey>, String> {
    let with_source = |source| {
        move |error: ClusterKeyError| match error {
            ClusterKeyError::Read { path, source: error } => {
                format!("{source}{}: {error}", file_name(Path::new(&path)))
            }
            error => format!("{source}: {error}"),
        }
    };
    let from_files = files
        .map(ClusterKey::from_file)
        .collect::<Result<Vec<_>, _>>()
        .map_err(with_source(FLAG))?;
    let from_variable =
        variable.map(ClusterKey::list).transpose().map_err(with_source(VARIABLE))?;
    match from_variable {
        Some(keys) if from_files.is_empty() || from_files == keys => Ok(keys),
        Some(_) => Err(format!(
            "{FLAG} and {VARIABLE} hold different keys: keep one of them, and unset the other"
        )),
        None => Ok(from_files),
    }
}

/// Splits a list of files at its commas.
///
/// # Errors
///
/// For an empty item. Other lists ignore those, but here a key may have failed to arrive.
pub(crate) fn parse_files(text: &str) -> Result<Vec<PathBuf>, String> {
    text.split(',')
        .map(|file| match file.trim() {
            "" => Err(NO_FILE.to_owned()),
            file => Ok(Path::new(file).to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh4=";

    fn key(text: &str) -> ClusterKey {
        text.parse().unwrap()
    }

    /// Files with these keys, removed at the end of the test.
    struct Files(Vec<PathBuf>);

    impl Files {
        fn of(keys: &[&str]) -> Self {
            static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let write = |key: &&str| {
                let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let path = std::env::temp_dir()
                    .join(format!("counter-web-key-{}-{number}", std::process::id()));
                std::fs::write(&path, format!("{key}\n")).unwrap();
                path
            };
            Self(keys.iter().map(write).collect())
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            self.0.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        }
    }

    fn keys(files: &[&str], variable: Option<&str>) -> Result<Vec<ClusterKey>, String> {
        read(Files::of(files).0.iter(), variable)
    }

    #[test]
    fn keys_keep_their_order() {
        let both = [key(OLD), key(NEW)];
        assert_eq!(keys(&[], None).unwrap(), []);
        assert_eq!(keys(&[NEW], None).unwrap(), [key(NEW)]);
        assert_eq!(keys(&[OLD, NEW], None).unwrap(), both);
        assert_eq!(keys(&[], Some(&format!("{OLD}, {NEW}"))).unwrap(), both);
        assert_eq!(keys(&[OLD, NEW], Some(&format!("{OLD},{NEW}"))).unwrap(), both);
        let words = "correct, horse, battery";
        assert_eq!(keys(&[words], Some(words)).unwrap(), [key(words)]);
    }

    #[test]
    fn errors_do_not_repeat_a_key() {
        let both = format!("{OLD},{NEW}");
        let (turned, cut, missing) =
            (format!("{NEW},{OLD}"), format!("{OLD},{}", &OLD[2..]), format!("{OLD},"));
        for (files, variable, hint) in [
            ([OLD, NEW].as_slice(), Some(OLD), "different keys"),
            (&[OLD], Some(&both), "different keys"),
            (&[OLD, NEW], Some(&turned), "different keys"),
            (&[OLD, "short"], None, "--cluster-key-file: the cluster key has 5 characters"),
            (&[&both], None, "expected one cluster key, found 2"),
            (&[], Some(&cut), "COUNTER_CLUSTER_KEY: a comma-separated list may hold"),
            (&[], Some(&missing), "COUNTER_CLUSTER_KEY: a comma-separated list may hold"),
            (&[], Some(""), "COUNTER_CLUSTER_KEY: the cluster key is empty"),
        ] {
            let said = keys(files, variable).expect_err("refused");
            assert!(said.contains(hint), "{said}");
            assert!(!said.contains(&OLD[2..20]) && !said.contains(&NEW[2..20]), "{said}");
        }
    }

    #[test]
    fn empty_file_names_are_refused() {
        assert_eq!(parse_files("a, /b/c").unwrap(), [PathBuf::from("a"), PathBuf::from("/b/c")]);
        for text in ["", " ", ",", "a,", ",a"] {
            assert!(parse_files(text).expect_err("refused").contains("write FILE"), "{text:?}");
        }
    }
}
