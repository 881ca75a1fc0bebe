//! Raw label fields to places: a look-up of two hashes for each series of a request.
//!
//! A series is known by 128 bits, two hashes of its label fields under secrets of this
//! process: labels that nobody chose to collide do not, and no labels need be kept. What
//! is refused is remembered as well, so that it costs no more.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Where a series goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// To this ref of this shard.
    Kept {
        /// Which shard.
        shard: u32,
        /// Dense from 0 within the shard.
        series_ref: u32,
    },
    /// Nowhere: its labels cannot be taken.
    Refused,
}

/// What is hashed already needs no other hash.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only u64 keys are used: this folds whatever else might come.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Places by the hashes of labels.
#[derive(Debug)]
pub(super) struct Dictionary {
    secrets: [RapidSecrets; 2],
    places: HashMap<u64, (u64, Place), BuildHasherDefault<Hashed>>,
}

/// Both hashes of a series' labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64, u64);

impl Dictionary {
    /// Empty, under these secrets.
    pub(super) fn new(seeds: [u64; 2]) -> Dictionary {
        Dictionary { secrets: seeds.map(RapidSecrets::seed), places: HashMap::default() }
    }

    /// The key of label fields.
    #[inline]
    pub(super) fn key(&self, labels: &[u8]) -> Key {
        Key(rapidhash_v3_seeded(labels, &self.secrets[0]), rapidhash_v3_seeded(labels, &self.secrets[1]))
    }

    /// The place of a known series.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<Place> {
        // Equal in the first half and not in the second: taken as unknown, and put in
        // the other's place, which is right for both and slow for one pair in 2^64.
        self.places.get(&key.0).filter(|(second, _)| *second == key.1).map(|(_, place)| *place)
    }

    /// From now on this series is known.
    pub(super) fn insert(&mut self, key: Key, place: Place) {
        self.places.insert(key.0, (key.1, place));
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}
