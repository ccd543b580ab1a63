//! Pairs of measurements, and what is said of them.
//!
//! What would surprise: the ratio of a figure is the median of the ratios of its pairs, not the
//! ratio of two medians: what slows the machine down for a moment slows both halves of a pair.

use std::fmt::Write as _;

use anyhow::Result;

use crate::machine::Machine;

/// A baseline that spreads by more than this share of its median judges nothing.
const SPREAD_MAX: f64 = 0.30;

/// Series that are run at most, until the baseline is calm.
const SERIES_MAX: usize = 3;

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Ratio to the baseline, or more; the second is what is aimed at.
    RatioAtLeast(f64, f64),
    /// Our value, or less.
    AtMost(f64),
    /// Ours less the baseline's, or less.
    MoreByAtMost(f64),
    /// Nothing: it is told for what it is worth.
    None,
}

/// What is measured, against what.
pub struct Subject {
    pub what: &'static str,
    pub baseline: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
}

/// One line of the table.
pub struct Figure {
    subject: Subject,
    base: Vec<f64>,
    ours: Vec<f64>,
    /// What else was seen, in words.
    pub notes: Vec<String>,
}

/// Runs baseline and Indicia in turn, so many times each; again while the baseline wavers.
pub fn compare(
    subject: Subject,
    pairs: usize,
    mut base: impl FnMut() -> Result<f64>,
    mut ours: impl FnMut() -> Result<f64>,
) -> Result<Figure> {
    let mut best: Option<Figure> = None;
    for _ in 0..SERIES_MAX {
        let mut series = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            series.0.push(base()?);
            series.1.push(ours()?);
        }
        let subject = Subject { ..subject };
        let figure = Figure { subject, base: series.0, ours: series.1, notes: Vec::new() };
        if best.as_ref().is_none_or(|best| figure.spread() < best.spread()) {
            best = Some(figure);
        }
        if best.as_ref().is_some_and(|best| best.spread() <= SPREAD_MAX) {
            break;
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("no series was run"))
}

impl Figure {
    /// How far the baseline's values lie apart, as a share of their median.
    fn spread(&self) -> f64 {
        let (least, most) = ends(&self.base);
        (most - least) / median(&self.base)
    }

    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.base).map(|(ours, base)| ours / base).collect()
    }

    fn differences(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.base).map(|(ours, base)| ours - base).collect()
    }

    fn verdict(&self) -> String {
        let reached = match self.subject.goal {
            Goal::None => return "–".into(),
            _ if self.spread() > SPREAD_MAX => {
                let percent = self.spread() * 100.0;
                return format!("not judged: the baseline spreads by {percent:.0} %");
            }
            Goal::RatioAtLeast(least, _) => median(&self.ratios()) >= least,
            Goal::AtMost(most) => median(&self.ours) <= most,
            Goal::MoreByAtMost(most) => median(&self.differences()) <= most,
        };
        if reached { "reached".into() } else { "**missed**".into() }
    }

    fn row(&self) -> String {
        let Subject { what, baseline, unit, goal } = &self.subject;
        let (least, most) = ends(&self.ratios());
        let goal = match goal {
            Goal::None => "–".into(),
            Goal::RatioAtLeast(least, aim) if aim > least => format!("≥ {least}, aim {aim}"),
            Goal::RatioAtLeast(least, _) => format!("≥ {least}"),
            Goal::AtMost(most) => format!("≤ {most} {unit}"),
            Goal::MoreByAtMost(most) => format!("at most {most} {unit} more"),
        };
        format!(
            "| {what} | {} {unit} | {baseline} | {} {unit} | {:.2} ({least:.2}..{most:.2}) | {goal} | {} |",
            short(median(&self.ours)),
            short(median(&self.base)),
            median(&self.ratios()),
            self.verdict(),
        )
    }
}

/// The page: the machine, the table, what else was seen.
pub fn page(machine: &Machine, figures: &[Figure]) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string can't fail.
    let _ = writeln!(page, "{machine}\n");
    page += "| what | Indicia | baseline | baseline | ratio, median (min..max) | goal | |\n";
    page += "|---|---|---|---|---|---|---|\n";
    for figure in figures {
        page += &figure.row();
        page.push('\n');
    }
    for figure in figures.iter().filter(|figure| !figure.notes.is_empty()) {
        let _ = writeln!(page, "\n## {}\n", figure.subject.what);
        for note in &figure.notes {
            let _ = writeln!(page, "* {note}");
        }
    }
    page
}

/// The middle value; the lower of two.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many per cent don't exceed.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn ends(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)))
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench --write`. Absolute values say little: they change from machine to
machine, and here from minute to minute. What is held to is the ratio to a baseline that ran in turn
with it; where the baseline itself spreads by more than 30 %, nothing is judged.

";
