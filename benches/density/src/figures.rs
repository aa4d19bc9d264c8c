//! What was measured, in the order in which it is told.

/// One figure of one stack.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name in JSON and in promises.
    pub key: String,
    /// For people.
    pub what: String,
    /// `KiB`, `ms`, `1/s`.
    pub unit: &'static str,
    /// The value, or why there is none.
    pub value: Result<f64, &'static str>,
}

/// All figures of one stack.
#[derive(Debug)]
pub struct Figures {
    /// Sections in order, each with its title.
    pub sections: Vec<(String, Vec<Figure>)>,
    /// What they were computed from.
    pub raw: serde_json::Value,
}

impl Figures {
    /// The figure of that name.
    pub fn get(&self, key: &str) -> Option<&Figure> {
        self.sections.iter().flat_map(|(_, figures)| figures).find(|figure| figure.key == key)
    }
}

/// A figure with a value.
pub fn figure(key: impl Into<String>, what: impl Into<String>, unit: &'static str, value: f64) -> Figure {
    maybe(key, what, unit, Ok(value))
}

/// A figure that may have none.
pub fn maybe(
    key: impl Into<String>,
    what: impl Into<String>,
    unit: &'static str,
    value: Result<f64, &'static str>,
) -> Figure {
    Figure { key: key.into(), what: what.into(), unit, value }
}

/// The value at a fraction of the sorted list: 0.5 is the median, 1.0 the greatest (nearest-rank method).
pub fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([0.0, 0.5, 0.51, 0.99, 1.0].map(|f| percentile(&values, f)), [1.0, 2.0, 3.0, 4.0, 4.0]);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
