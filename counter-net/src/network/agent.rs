//! The agent version: tells peers which incarnation a process started as.

/// The part of an agent version before the incarnation.
const AGENT: &str = concat!("counter-net/", env!("CARGO_PKG_VERSION"));

/// The agent version of a process that started as `incarnation`.
pub(crate) fn agent_version(incarnation: u64) -> String {
    format!("{AGENT} {incarnation:016x}")
}

/// Reads the incarnation from an agent version. Returns `None` if it has none, as in earlier
/// releases.
pub(crate) fn started_as(agent_version: &str) -> Option<u64> {
    u64::from_str_radix(agent_version.strip_prefix("counter-net/")?.split_once(' ')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_version_names_the_incarnation() {
        assert_eq!(started_as(&agent_version(0x1234)), Some(0x1234));
        assert_eq!(
            [started_as("counter-net/0.1.0"), started_as("rust-libp2p 1f"), started_as("")],
            [None; 3]
        );
    }
}
