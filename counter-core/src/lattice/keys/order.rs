//! Sorting by number. It counts instead of comparing if the numbers are dense, as versions and
//! ranks mostly are.

/// An empty place.
const NO_NUMBER: u32 = u32::MAX;

/// Sorts the pairs, and returns their second numbers, each of which is below 2^32 - 1. O(pairs) if
/// the first numbers are dense, else a sort.
pub(crate) fn sorted_by_number(mut pairs: Vec<(u64, u32)>) -> Vec<u32> {
    let bounds = pairs.iter().fold((u64::MAX, 0), |(least, greatest), &(number, _)| {
        (number.min(least), number.max(greatest))
    });
    let (least, greatest) = bounds;
    if greatest.saturating_sub(least) < 4 * pairs.len() as u64 {
        let mut placed = vec![NO_NUMBER; (greatest - least) as usize + 1];
        pairs.iter().for_each(|&(number, thing)| placed[(number - least) as usize] = thing);
        placed.retain(|&thing| thing != NO_NUMBER);
        // If two pairs have the same number, one of them is missing.
        if placed.len() == pairs.len() {
            return placed;
        }
    }
    pairs.sort_unstable();
    pairs.into_iter().map(|pair| pair.1).collect()
}

/// The numbers of distinct names in the order of the names. The eight bytes after the common prefix
/// mostly tell two names apart. O(n log n).
pub(crate) fn sorted_by_name<'a>(numbers: Vec<u32>, name: impl Fn(u32) -> &'a str) -> Vec<u32> {
    let Some(&first) = numbers.first() else { return numbers };
    let first = name(first).as_bytes();
    let in_common = |common: usize, number: &u32| {
        let bytes = name(*number).as_bytes();
        let most = common.min(bytes.len());
        if bytes[..most] == first[..most] {
            most
        } else {
            bytes.iter().zip(first).take_while(|(a, b)| a == b).count()
        }
    };
    let common = numbers.iter().fold(first.len(), in_common);
    let head = |number: u32| {
        let mut head = [0; 8];
        let rest = &name(number).as_bytes()[common..];
        let taken = rest.len().min(8);
        head[..taken].copy_from_slice(&rest[..taken]);
        u64::from_be_bytes(head)
    };
    let mut heads: Vec<(u64, u32)> =
        numbers.into_iter().map(|number| (head(number), number)).collect();
    heads.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
    heads.into_iter().map(|head| head.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dense_sparse_and_doubled_numbers_come_in_order() {
        assert_eq!(sorted_by_number(vec![(12, 0), (10, 1), (11, 2)]), [1, 2, 0]);
        assert_eq!(sorted_by_number(vec![(1 << 60, 0), (10, 1), (11, 2)]), [1, 2, 0]);
        assert_eq!(sorted_by_number(vec![(12, 2), (10, 1), (12, 0)]), [1, 0, 2]);
        assert_eq!(sorted_by_number(vec![(0, 0), (u64::MAX, 1)]), [0, 1]);
        assert_eq!(sorted_by_number(vec![]), []);
    }

    proptest! {
        #[test]
        fn names_come_in_the_order_of_strings(
            names in prop::collection::btree_set("(pre|prefix-)?[a-c\\x00é]{0,12}", 0..40),
            seed in any::<u64>(),
        ) {
            let mut names: Vec<String> = names.into_iter().collect();
            let sorted = names.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut names);
            let numbers = (0..names.len() as u32).collect();
            let order = sorted_by_name(numbers, |number| names[number as usize].as_str());
            prop_assert!(order.into_iter().map(|number| &names[number as usize]).eq(&sorted));
        }
    }
}
