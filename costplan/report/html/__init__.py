"""Reports as one HTML file each: no script, no network, text by jinja2, plots by Vega-Lite as static SVG."""
