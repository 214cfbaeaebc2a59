//! Pictures: for each metric a bar for each configuration, as long as its median multiple.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::{measure::METRICS, report::Row};

const SIZE: (u32, u32) = (900, 320);

/// Writes one file for each metric into a directory.
pub fn write(rows: &[Row], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for metric in METRICS {
        let bars: Vec<_> = rows.iter().filter(|row| row.metric == metric.title()).collect();
        let words = metric.title().split(|c: char| !c.is_ascii_alphanumeric());
        let name =
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase();
        let path = dir.join(format!("net-{name}.svg"));
        draw(&bars, &path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn draw(bars: &[&Row], path: &Path) -> Result<()> {
    let Some(first) = bars.first() else { return Ok(()) };
    let longest = bars.iter().map(|row| row.median_ratio).fold(1.0, f64::max) * 1.1;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}, times {}", first.metric, first.of);
    let names: Vec<_> = bars.iter().rev().map(|row| row.config).collect();
    let last = i32::try_from(names.len())?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(240)
        .build_cartesian_2d(0.0..longest, (0..last - 1).into_segmented())?;
    let name = |place: &SegmentValue<i32>| match place {
        SegmentValue::CenterOf(number) => {
            usize::try_from(*number).ok().and_then(|number| names.get(number))
        }
        _ => None,
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(names.len())
        .y_label_formatter(&|place| name(place).copied().unwrap_or_default().to_owned())
        .draw()?;
    chart.draw_series(bars.iter().rev().zip(0..).map(|(row, number)| {
        let is_ours = row.config.starts_with("enforcer") || row.config.starts_with("the same, a");
        let colour = if is_ours { BLUE.mix(0.7) } else { BLACK.mix(0.4) };
        let place = |number| SegmentValue::Exact(number);
        let mut bar = Rectangle::new(
            [(0.0, place(number)), (row.median_ratio, place(number + 1))],
            colour.filled(),
        );
        bar.set_margin(3, 3, 0, 0);
        bar
    }))?;
    root.present()?;
    Ok(())
}
