//! Amounts that tell adds apart. Each is a power of a base, so the digits of a value say how often
//! each add counts.

/// The adds that one key can tell apart. The greatest amount is 4^15, and an add may have up to
/// 2^32.
pub(super) const UNITS_MAX: usize = 16;
/// The adds with an id that one counter can tell apart. The greatest amount is 16^7.
pub(super) const ID_UNITS_MAX: usize = 8;

const BASE: i128 = 4;
const ID_BASE: i128 = 16;

/// The amount of the add at this place of its key.
pub(super) fn amount(place: usize) -> i64 {
    1 << (2 * place)
}

/// The amount of the add with an id at this place of its counter.
pub(super) fn id_amount(place: usize) -> i64 {
    1 << (4 * place)
}

/// The set of adds that a value counts, as bits by place. `is_negative` returns true for those of
/// the `count` adds that are subtractions.
///
/// # Errors
/// The place of an add that counts twice or with the wrong sign, and how often it counts.
pub(super) fn read(
    value: i128,
    count: usize,
    is_negative: impl Fn(usize) -> bool,
) -> Result<u32, (usize, i128)> {
    let (mut rest, mut shown) = (value, 0);
    for place in 0..count {
        let sign = if is_negative(place) { -1 } else { 1 };
        let digit = (sign * rest).rem_euclid(BASE);
        match digit {
            0 => {}
            1 => shown |= 1 << place,
            2 => return Err((place, 2)),
            _ => return Err((place, -1)),
        }
        rest = (rest - sign * digit) / BASE;
    }
    if rest == 0 { Ok(shown) } else { Err((count, rest)) }
}

/// How often each of `count` adds with an id counts, from -8 to 7.
pub(super) fn read_ids(value: i128, count: usize) -> Result<[i8; ID_UNITS_MAX], i128> {
    let (mut rest, mut times) = (value, [0; ID_UNITS_MAX]);
    for time in times.iter_mut().take(count) {
        let digit = (rest + ID_BASE / 2).rem_euclid(ID_BASE) - ID_BASE / 2;
        *time = digit as i8;
        rest = (rest - digit) / ID_BASE;
    }
    if rest == 0 { Ok(times) } else { Err(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_adds_reads_back() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let (set, negative) = (dice.u32(..1 << UNITS_MAX), dice.u32(..1 << UNITS_MAX));
            let signed = |place: usize| {
                i128::from(amount(place)) * if negative >> place & 1 == 1 { -1 } else { 1 }
            };
            let value = (0..UNITS_MAX).filter(|place| set >> place & 1 == 1).map(signed).sum();
            assert_eq!(read(value, UNITS_MAX, |place| negative >> place & 1 == 1), Ok(set));
        }
    }

    #[test]
    fn wrong_add_is_named() {
        assert_eq!(read(1 + 2 * 4, 3, |_| false), Err((1, 2)));
        assert_eq!(read(1 - 4, 3, |_| false), Err((1, -1)));
        assert_eq!(read(4, 3, |_| true), Err((1, -1)));
        assert_eq!(read(64, 3, |_| false), Err((3, 1)));
    }

    #[test]
    fn ids_read_back_with_their_counts() {
        let value = 2 - 16 + 256;
        assert_eq!(read_ids(value, 3).map(|times| times[..3].to_vec()), Ok(vec![2, -1, 1]));
        assert!(read_ids(4096, 3).is_err());
    }
}
