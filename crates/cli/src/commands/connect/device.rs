//! What a person needs who enters a code on another device: address and code as text, always, and
//! a picture of the address on a terminal (RFC 8628 §3.3.1). Nothing is opened here: the address
//! comes from the service, and the device with the browser may be another one.

use indicia_broker::device::DeviceStep;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::home::Cx;
use crate::output::now;
use crate::words::{shown, spoken};

/// Shows it on standard error.
pub(super) fn show(cx: &Cx, step: &DeviceStep) {
    let left = step.expires_at.since(now());
    cx.out.say("open this address on any device that has a browser:");
    cx.out.say(&shown(&step.verification_uri));
    cx.out.say(&format!("and enter this code there, within {}:", spoken(left)));
    cx.out.say(&shown(&step.user_code));
    let address = step.verification_uri_complete.as_ref().unwrap_or(&step.verification_uri);
    if cx.out.draws()
        && let Some(picture) = picture(address)
    {
        cx.out.say("or take a picture of this:");
        cx.out.say(&picture);
    }
    cx.out.say("allow it only if the page shows this same code");
}

/// A picture of a text for a camera, two rows to a line; `None` where it would be too large.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let code = (code.width() <= WIDTH_MAX).then_some(code)?;
    // Dark terminals are the rule: light modules are drawn, and the border with them.
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build())
}

/// With its border of four on both sides it still fits into 80 columns.
const WIDTH_MAX: usize = 72;

#[cfg(test)]
mod tests {
    use super::picture;

    // DF-6
    #[test]
    fn df_6_a_picture_fits_a_terminal_or_isnt_drawn() {
        let drawn = picture("https://example.com/device?user_code=WDJB-MJHT").expect("it fits");
        let widths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{widths:?}");
        assert!(drawn.chars().all(|c| matches!(c, ' ' | '█' | '▀' | '▄' | '\n')), "{drawn}");
        assert!(picture(&"x".repeat(2_000)).is_none());
    }
}
