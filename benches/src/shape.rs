//! The states that workloads run on: regions, writers, values, and the order of writing.

use counter_core::Amounts;

/// The values that the writers have written, and their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Writer a of region i: increments (7i + 13a) mod 1000 + 1, decrements (3i + a) mod 10 + 1,
    /// region after region.
    Formula,
    /// Random increments of 1 to 1,000 and decrements of 1 to 10. Every writer has its own random
    /// order.
    Seeded,
}

/// One state of W2: the amounts of each writer for each region.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The names of the regions.
    pub names: Vec<String>,
    /// The number of writers. Each has increments and decrements in every region.
    pub writers: usize,
    /// By writer, then by region.
    amounts: Vec<Vec<Amounts>>,
    /// The order in which each writer writes the regions. There are two more orders than writers,
    /// for the adds that X and Y make afterwards.
    orders: Vec<Vec<usize>>,
}

impl Shape {
    /// The state of `regions` regions and `writers` writers.
    pub fn new(values: Values, regions: usize, writers: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let names = (0..regions).map(|region| name(region, regions)).collect();
        let amount = |random: &mut fastrand::Rng, region: usize, writer: usize| match values {
            Values::Formula => Amounts {
                increments: (7 * region + 13 * writer) as u64 % 1000 + 1,
                decrements: (3 * region + writer) as u64 % 10 + 1,
            },
            Values::Seeded => {
                Amounts { increments: random.u64(1..=1000), decrements: random.u64(1..=10) }
            }
        };
        let amounts = (0..writers)
            .map(|writer| (0..regions).map(|region| amount(&mut random, region, writer)).collect())
            .collect();
        let orders = (0..writers + 2)
            .map(|_| {
                let mut order: Vec<usize> = (0..regions).collect();
                if values == Values::Seeded {
                    random.shuffle(&mut order);
                }
                order
            })
            .collect();
        Self { names, writers, amounts, orders }
    }

    /// The number of regions.
    pub fn regions(&self) -> usize {
        self.names.len()
    }

    /// All that was written, as (writer, region, amounts) in the order of writing. The writer
    /// `first` comes first.
    pub fn written(&self, first: usize) -> impl Iterator<Item = (usize, &str, Amounts)> {
        let writers = (0..self.writers).map(move |at| (at + first) % self.writers);
        writers.flat_map(move |writer| {
            let regions = self.orders[writer].iter();
            regions.map(move |&region| {
                (writer, self.names[region].as_str(), self.amounts[writer][region])
            })
        })
    }

    /// The regions in the order in which writer 0 or 1 adds to them once more.
    pub fn again(&self, writer: usize) -> impl Iterator<Item = &str> {
        self.orders[self.writers + writer].iter().map(|&region| self.names[region].as_str())
    }

    /// The value of a region after X added 5 and Y added 7.
    pub fn value_joined(&self, region: usize) -> i128 {
        self.amounts.iter().map(|amounts| amounts[region].net()).sum::<i128>() + 12
    }

    /// The sum of all regions after those adds.
    pub fn sum_joined(&self) -> i128 {
        (0..self.regions()).map(|region| self.value_joined(region)).sum()
    }
}

/// `r00`, `r01` and so on up to 32 regions, `r000000` and so on above.
fn name(region: usize, regions: usize) -> String {
    if regions <= 32 { format!("r{region:02}") } else { format!("r{region:06}") }
}
