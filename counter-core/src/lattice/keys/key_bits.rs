//! A set of keys, one bit each.

/// Keys by their numbers. One bit for each number up to the largest that was ever in it.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyBits {
    words: Vec<u64>,
    count: usize,
}

impl KeyBits {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub(super) fn contains(&self, key: u32) -> bool {
        self.words.get(key as usize / 64).is_some_and(|word| word >> (key % 64) & 1 == 1)
    }

    /// Returns true if the key was not in it.
    pub(super) fn insert(&mut self, key: u32) -> bool {
        let at = key as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let is_new = !self.contains(key);
        self.words[at] |= 1 << (key % 64);
        self.count += usize::from(is_new);
        is_new
    }

    pub(super) fn remove(&mut self, key: u32) {
        if self.contains(key) {
            self.words[key as usize / 64] &= !(1 << (key % 64));
            self.count -= 1;
        }
    }

    /// The keys, ascending. O(words).
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.words.len() as u32 * 64).filter(|&key| self.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_and_go() {
        let mut bits = KeyBits::default();
        for key in [3, 64, 200, 63, 3] {
            bits.insert(key);
        }
        bits.remove(64);
        bits.remove(1_000);
        assert_eq!((bits.len(), bits.iter().collect::<Vec<_>>()), (3, vec![3, 63, 200]));
        assert!(!bits.insert(63) && bits.insert(64) && !bits.contains(65));
        [3, 63, 64, 200].into_iter().for_each(|key| bits.remove(key));
        assert!(bits.is_empty());
    }
}
