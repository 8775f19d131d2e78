//! Medians and spreads.

use std::time::Duration;

/// Numbers that were measured, in their order of size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// # Panics
    /// When a number is none.
    #[must_use]
    pub fn new(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        assert!(sorted.iter().all(|number| number.is_finite()), "{sorted:?}");
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// Times, in microseconds.
    #[must_use]
    pub fn micros(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::new(times.into_iter().map(|time| time.as_secs_f64() * 1e6))
    }

    /// The quotients of what was measured in the same round.
    #[must_use]
    pub fn ratios(ours: &[f64], theirs: &[f64]) -> Self {
        Self::new(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }

    /// The number below which this part of all lies (nearest rank).
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    #[must_use]
    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    #[must_use]
    pub fn most(&self) -> f64 {
        self.quantile(1.0)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let samples = Samples::new([4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(
            (samples.least(), samples.median(), samples.most()),
            (1.0, 3.0, 5.0)
        );
        let hundred = Samples::new((1..=100).map(f64::from));
        assert_eq!((hundred.median(), hundred.quantile(0.99)), (50.0, 99.0));
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        let ratios = Samples::ratios(&[2.0, 9.0], &[1.0, 3.0]);
        assert_eq!((ratios.least(), ratios.most()), (2.0, 3.0));
    }
}
