//! The process. Everything it does is told in the library, under the package's own name.

use std::process::ExitCode;

// The library of this package.{{ nl }}use {{ crate_name }} as app;{% comment %}
use beacon as app;
// {% endcomment %}

fn main() -> ExitCode {
    app::main()
}
