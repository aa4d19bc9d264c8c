//! The figures that are compared: ratios, as geometric means over guests.

use crate::measure::{Class, Measured, Runner};

/// A ratio of two runners.
#[derive(Debug)]
pub struct Ratio {
    /// For JSON and `promises.rs`.
    pub key: &'static str,
    /// In words.
    pub what: &'static str,
    /// Geometric mean; `None` if no guest was measured.
    pub value: Option<f64>,
}

/// All of them.
#[derive(Debug)]
pub struct Summary(pub Vec<Ratio>);

impl Summary {
    /// Computes them.
    pub fn of(measured: &[Measured]) -> Summary {
        let time =
            |class, one, other| {
                mean(measured.iter().filter(|guest| guest.class == class).filter_map(|guest| {
                    Some(guest.time(one)?.as_secs_f64() / guest.time(other)?.as_secs_f64())
                }))
            };
        let compile = |class, one, other| {
            mean(measured.iter().filter(|guest| guest.class == class).filter_map(|guest| {
                Some(guest.compiled(one)?.cpu.as_secs_f64() / guest.compiled(other)?.cpu.as_secs_f64())
            }))
        };
        let largest = |runner| {
            let compiled = measured.iter().filter_map(|guest| guest.compiled(runner));
            compiled.map(|compiled| compiled.peak_kib as f64 / 1024.0).reduce(f64::max)
        };
        let seconds = |runner| {
            let applications = measured.iter().filter(|guest| guest.class == Class::Application);
            applications
                .filter_map(|guest| guest.compiled(runner))
                .map(|c| c.cpu.as_secs_f64())
                .reduce(f64::max)
        };
        use Class::{Application, Kernel};
        use Runner::{Interpreter, Native, Quick, Top, Wasmtime};
        let ratio = |key, what, value| Ratio { key, what, value };
        Summary(vec![
            ratio("top_wasmtime", "kernels: top tier / wasmtime, time", time(Kernel, Top, Wasmtime)),
            ratio("top_native", "kernels: top tier / native -O3, time", time(Kernel, Top, Native)),
            ratio("quick_wasmtime", "kernels: quick tier / wasmtime, time", time(Kernel, Quick, Wasmtime)),
            ratio("interpreter_top", "kernels: interpreter / top tier, time", time(Kernel, Interpreter, Top)),
            ratio("wasmtime_native", "kernels: wasmtime / native -O3, time", time(Kernel, Wasmtime, Native)),
            ratio(
                "quick_compile",
                "kernels: quick tier / wasmtime, CPU to compile",
                compile(Kernel, Quick, Wasmtime),
            ),
            ratio(
                "top_compile",
                "kernels: top tier / wasmtime, CPU to compile",
                compile(Kernel, Top, Wasmtime),
            ),
            ratio(
                "cpython_quick",
                "CPython: quick tier / wasmtime, time",
                time(Application, Quick, Wasmtime),
            ),
            ratio("cpython_top", "CPython: top tier / wasmtime, time", time(Application, Top, Wasmtime)),
            ratio(
                "cpython_quick_compile",
                "CPython: quick tier / wasmtime, CPU to compile",
                compile(Application, Quick, Wasmtime),
            ),
            ratio("cpython_quick_seconds", "CPython: quick tier, seconds of CPU to compile", seconds(Quick)),
            ratio("cpython_top_seconds", "CPython: top tier, seconds of CPU to compile", seconds(Top)),
            ratio("quick_peak", "largest compile at the quick tier, MiB of one process", largest(Quick)),
            ratio("top_peak", "largest compile at the top tier, MiB of one process", largest(Top)),
        ])
    }

    /// One by its key.
    pub fn get(&self, key: &str) -> Option<&Ratio> {
        self.0.iter().find(|ratio| ratio.key == key)
    }
}

fn mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = ratios.map(f64::ln).collect();
    (!logarithms.is_empty()).then(|| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_twice_and_half_is_one() {
        assert_eq!(mean([2.0, 0.5].into_iter()).map(|mean| (mean * 1e9).round()), Some(1e9));
        assert_eq!(mean(std::iter::empty()), None);
    }
}
