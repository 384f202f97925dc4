//! Regions by code: city, country, place on the map. An unknown code works too, but has no place.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One line of `regions.csv`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegionPlace {
    pub(crate) city: &'static str,
    /// Two letters, ISO 3166.
    pub(crate) country: &'static str,
    /// Degrees north.
    pub(crate) latitude: f64,
    /// Degrees east.
    pub(crate) longitude: f64,
}

impl RegionPlace {
    /// The angle between two places, seen from the middle of the earth, in radians.
    pub(crate) fn angle_to(&self, other: &Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let turn = (self.longitude - other.longitude).to_radians();
        (from.sin() * to.sin() + from.cos() * to.cos() * turn.cos()).clamp(-1.0, 1.0).acos()
    }
}

static PLACES: LazyLock<HashMap<&'static str, RegionPlace>> = LazyLock::new(|| {
    include_str!("../../assets/regions.csv").lines().skip(1).filter_map(read_line).collect()
});

fn read_line(line: &'static str) -> Option<(&'static str, RegionPlace)> {
    let mut fields = line.split(',').map(str::trim);
    let code = fields.next()?;
    let (city, country) = (fields.next()?, fields.next()?);
    Some((
        code,
        RegionPlace {
            city,
            country,
            latitude: fields.next()?.parse().ok()?,
            longitude: fields.next()?.parse().ok()?,
        },
    ))
}

/// The codes of all known regions.
#[cfg(test)]
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    PLACES.keys().copied()
}

/// The place of the region `code`, if it is known.
pub(crate) fn place(code: &str) -> Option<&'static RegionPlace> {
    PLACES.get(code)
}

/// The city of a known region, or else the code.
pub(crate) fn city(code: &str) -> &str {
    place(code).map_or(code, |place| place.city)
}

/// The flag of a known region's country, as two regional indicator symbols, or a pin for an unknown
/// region.
pub(crate) fn flag(code: &str) -> String {
    match place(code) {
        Some(place) => place
            .country
            .chars()
            .filter_map(|letter| char::from_u32(0x1F1E6 + u32::from(letter) - u32::from('A')))
            .collect(),
        None => "📍".to_owned(),
    }
}

/// True if `code` can name a region: 1-32 of a-z, 0-9 and `-`.
pub(crate) fn is_code(code: &str) -> bool {
    (1..=32).contains(&code.len())
        && code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_place() {
        assert_eq!(PLACES.len(), include_str!("../../assets/regions.csv").lines().count() - 1);
        assert!(PLACES.iter().all(|(code, place)| is_code(code)
            && place.latitude.abs() <= 90.0
            && place.longitude.abs() <= 180.0));
    }

    #[test]
    fn unknown_code_has_no_place() {
        assert_eq!((city("moon"), place("moon"), flag("moon").as_str()), ("moon", None, "📍"));
        assert_eq!((city("syd"), flag("syd").as_str()), ("Sydney", "🇦🇺"));
    }

    #[test]
    fn codes_are_short_and_plain() {
        assert!(is_code("ord") && is_code("local-2"));
        assert!(!is_code("") && !is_code("Ord") && !is_code("a b") && !is_code(&"x".repeat(33)));
    }
}
