//! Pictures of series, as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Circle, PathElement};
use plotters::prelude::{IntoLogRange as _, Ranged, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color as _, RGBColor, WHITE};

use crate::report::output;

const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1F, 0x6F, 0xB4),
    RGBColor(0xC4, 0x4E, 0x1A),
    RGBColor(0x3A, 0x8A, 0x3A),
    RGBColor(0x77, 0x55, 0x99),
];

/// One line of a picture.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Linear,
    /// By powers; nothing on it may be 0.
    Logarithmic,
}

/// A picture of lines over one axis.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x: (String, Scaling),
    pub y: (String, Scaling),
    pub lines: Vec<Line>,
}

impl Plot {
    /// Draws it to `target/bench/NAME.svg`.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn draw(&self, name: &str) {
        let path = output(&format!("{name}.svg"));
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = range(points().map(|point| point.0), self.x.1);
        let y = range(points().map(|point| point.1), self.y.1);
        let backend = SVGBackend::new(&path, (720, 420));
        let drawn = match (self.x.1, self.y.1) {
            (Scaling::Linear, Scaling::Linear) => self.with_axes(backend, x, y),
            (Scaling::Linear, Scaling::Logarithmic) => self.with_axes(backend, x, y.log_scale()),
            (Scaling::Logarithmic, Scaling::Linear) => self.with_axes(backend, x.log_scale(), y),
            (Scaling::Logarithmic, Scaling::Logarithmic) => {
                self.with_axes(backend, x.log_scale(), y.log_scale())
            }
        };
        drawn.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn with_axes<X, Y>(&self, backend: SVGBackend<'_>, x: X, y: Y) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.0)
            .y_desc(&self.y.0)
            .light_line_style(WHITE)
            .draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            let series = LineSeries::new(line.points.iter().copied(), style);
            let legend = chart.draw_series(series)?;
            legend
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            if line.points.len() <= 20 {
                let marks = line.points.iter();
                chart.draw_series(marks.map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

fn range(values: impl Iterator<Item = f64>, scaling: Scaling) -> Range<f64> {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    match scaling {
        Scaling::Linear => 0.0_f64.min(least)..(most * 1.05).max(f64::MIN_POSITIVE),
        Scaling::Logarithmic => least * 0.8..most * 1.25,
    }
}
