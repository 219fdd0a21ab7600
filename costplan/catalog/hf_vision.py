"""Weights outside the text decoder: an estimate of the vision tower from its own config block."""

from __future__ import annotations

from costplan.catalog.hf_fields import Fields


def vision_params(outer: Fields, hidden_size: int) -> int:
    """Weights of the vision encoder and its projector; 0 without a ``vision_config``. Within a few percent:
    attention (4 h^2), MLP, patch embedding and a projector to ``hidden_size``; norms and tables are left out."""
    vision = outer.sub("vision_config")
    if vision is None or not vision.has("num_hidden_layers", "depth", "layers", "vt_num_hidden_layers"):
        return 0
    width = vision.integer_or(0, "hidden_size", "width", "embed_dim", "vt_hidden_size")
    depth = vision.integer("num_hidden_layers", "depth", "layers", "vt_num_hidden_layers")
    if not width:
        return 0
    inner = vision.integer_or(int(vision.number_or(4.0, "mlp_ratio") * width), "intermediate_size",
                              "vt_intermediate_size")
    ups = 2 if vision.text("hidden_act") == "silu" else 1
    patch = vision.integer_or(14, "patch_size")
    frames = vision.integer_or(1, "temporal_patch_size")
    merged = width * vision.integer_or(1, "spatial_merge_size") ** 2
    mergers = 1 + len(vision.array("deepstack_visual_indexes") or [])
    projector = mergers * (merged * merged + merged * hidden_size) if merged > width else width * hidden_size
    return depth * (4 * width * width + (ups + 1) * width * inner) + 3 * frames * patch * patch * width + projector
