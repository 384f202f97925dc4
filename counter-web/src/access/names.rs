//! The counters that strangers may create: `--create clicks,likes:*`.

use crate::api::fields::check_name;

/// A list of names and prefixes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Creatable {
    patterns: Vec<Pattern>,
}

/// An item of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// This name.
    Name(String),
    /// Every name with this prefix.
    Prefix(String),
}

impl Pattern {
    /// Reads a name, or a prefix followed by `*`.
    ///
    /// # Errors
    ///
    /// If a `*` is not at the end, or the rest is not a counter's name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (stem, pattern) = match text.strip_suffix('*') {
            Some(stem) => (stem, Self::Prefix(stem.to_owned())),
            None => (text, Self::Name(text.to_owned())),
        };
        let is_all = stem.is_empty() && text == "*";
        if stem.contains('*') || (!is_all && check_name(stem).is_err()) {
            return Err(
                "expected names of counters, each with at most one *, at its end: write for \
                        example clicks,likes:*"
                    .to_owned(),
            );
        }
        Ok(pattern)
    }
}

impl Creatable {
    /// The page's counter and the listed patterns.
    pub(crate) fn new<'a>(page: &str, listed: impl Iterator<Item = &'a Pattern>) -> Self {
        let page = Pattern::Name(page.to_owned());
        Self { patterns: [page].into_iter().chain(listed.cloned()).collect() }
    }

    /// True if strangers may create the counter `name`. O(patterns).
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Name(listed) => listed == name,
            Pattern::Prefix(prefix) => name.starts_with(prefix.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_and_prefixes_may_be_made() {
        let listed = ["likes:*", "visits"].map(|text| Pattern::parse(text).unwrap());
        let creatable = Creatable::new("clicks", listed.iter());
        for name in ["clicks", "visits", "likes:", "likes:7"] {
            assert!(creatable.contains(name), "{name}");
        }
        for name in ["click", "clicks2", "visits:1", "like", "Likes:7"] {
            assert!(!creatable.contains(name), "{name}");
        }
        assert!(
            Creatable::new("clicks", [Pattern::parse("*").unwrap()].iter()).contains("anything")
        );
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in ["a*b", "**", "", "a\nb", "a**"] {
            assert!(
                Pattern::parse(text).is_err_and(|why| why.contains("clicks,likes:*")),
                "{text:?}"
            );
        }
    }
}
