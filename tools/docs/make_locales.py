"""Writes locales/en from the nodes' schemas, the tables of inputs, outputs and words in the help pages, web/docs, and
the words in README.md.

    python -m tools.docs.make_locales --host FOLDER

Run it again when an input, a tooltip, or a translation changes. locales/zh and locales/ja are written by hand: the page
takes a node's names and tooltips from them, and so do the tables of the pages in these languages; values of lists are
as web/lib/choice_words.js has them. Tables stand between <!-- inputs -->, <!-- outputs --> or <!-- words --> and the
matching end. An English page takes both from the schemas, as does one in a
language that the pack lacks: the page's translator looks for a text in the page's own language alone. locales/en only
has what the page would else show an id for.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from tools.cache import PACK
from tools.docs.glossary import GLOSSARY, rows, words_on
from tools.docs.page_words import page_words
from tools.host.host_process import Host

LOCALES = PACK / "locales"
DOCS = PACK / "web" / "docs"
TRANSLATED = ("zh", "ja")
CATEGORY = "realign"
MAIN = {"templateWorkflows": {"category": {CATEGORY: "Realign"}}}  # the pack's part of the Templates dialog
HOST_LISTS = {
    "scheduler": "many",
    "anchor_name": "file",
    "reward_name": "file",
}  # combos whose options the host or its folders decide
LONGEST_ID = 16  # letters that the narrow column of names has room for
WIDGETS = {"COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "CURVE"}  # all other types are sockets

WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "inputs": ["Input", "What it does"],
        "outputs": ["Output", "What it is"],
        "words": ["Word", "What it means"],
        "comma": ", ",
        "advanced": "advanced",
        "optional": "optional",
        "default": "default {}",
        "file": "a file",
        "many": "as in KSampler",
        "on": "on",
        "off": "off",
        "text": "text",
        "above": "{} and up",
        "curve": "a curve",
    },
    "zh": {
        "inputs": ["输入", "作用"],
        "outputs": ["输出", "内容"],
        "words": ["词语", "意思"],
        "comma": "，",
        "advanced": "高级",
        "optional": "可选",
        "default": "默认 {}",
        "file": "文件",
        "many": "与 K采样器相同",
        "on": "开",
        "off": "关",
        "text": "文本",
        "above": "{} 以上",
        "curve": "曲线",
    },
    "ja": {
        "inputs": ["入力", "はたらき"],
        "outputs": ["出力", "内容"],
        "words": ["ことば", "意味"],
        "comma": "、",
        "advanced": "詳細",
        "optional": "任意",
        "default": "既定 {}",
        "file": "ファイル",
        "many": "Kサンプラーと同じ",
        "on": "オン",
        "off": "オフ",
        "text": "テキスト",
        "above": "{} 以上",
        "curve": "カーブ",
    },
}

Info = dict[str, Any]  # a node as /object_info describes it


def inputs_of(info: Info) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Type or list of options, options, and whether it is optional, by input id and in the node's order."""
    found = {}
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, *options = info["input"][group][name]
            found[name] = (kind, options[0] if options else {}, group == "optional")
    return found


def english(nodes: dict[str, Info]) -> dict[str, Any]:
    """The nodes' names and tooltips as the schemas say them, in the form of nodeDefs.json."""
    return {node_id: _english_node(info) for node_id, info in nodes.items()}


def beyond_schemas(nodes: dict[str, Info]) -> dict[str, Any]:
    """The English nodeDefs.json: names that are not ids, for the few places where the page knows an id only.

    Those are a node's menu and a node without a title, and the socket that belongs to a widget.
    """
    return {node_id: _beyond_schema(told) for node_id, told in english(nodes).items()}


def _beyond_schema(told: dict[str, Any]) -> dict[str, Any]:
    inputs = {name: {"name": one["name"]} for name, one in told["inputs"].items() if one["name"] != name}
    return {"display_name": told["display_name"]} | ({"inputs": inputs} if inputs else {})


def _english_node(info: Info) -> dict[str, Any]:
    inputs = {}
    for name, (_, options, _) in inputs_of(info).items():
        inputs[name] = {"name": options.get("display_name") or name, "tooltip": options["tooltip"]}
    outputs = zip(info["output_name"], info["output_tooltips"])
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": {str(i): {"name": name, "tooltip": tooltip} for i, (name, tooltip) in enumerate(outputs)},
    }


def read(language: str, name: str) -> dict[str, Any]:
    """A file of a language: nodeDefs or main."""
    return dict(json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8")))


def locale(language: str, nodes: dict[str, Info]) -> dict[str, Any]:
    """The nodes' names and tooltips in a language."""
    return english(nodes) if language == "en" else read(language, "nodeDefs")


def nodes_of(host: Host) -> dict[str, Info]:
    """The pack's nodes."""
    return {name: info for name, info in host.get("/object_info").items() if info["category"] == CATEGORY}


def page_path(node_id: str, language: str) -> Path:
    """Where the page looks for a node's help in a language."""
    return DOCS / f"{node_id}.md" if language == "en" else DOCS / node_id / f"{language}.md"


def with_tables(text: str, info: Info, names: dict[str, Any], language: str) -> str:
    """A help page with its tables as schema and locale say. names: the node's part of nodeDefs.json."""
    tables = {"inputs": input_rows(info, names, language), "outputs": output_rows(info, names)}
    for name, of_node in tables.items():
        text = with_table(text, name, of_node, language)
    english_page = text if language == "en" else page_path(info["name"], "en").read_text(encoding="utf-8")
    used = words_on(re.sub(r"<!-- words -->.*?<!-- end -->", "", english_page, flags=re.DOTALL))
    return with_table(text, "words", rows(used, language), language)


def with_table(text: str, name: str, lines: list[list[str]], language: str) -> str:
    """A page with the table of that name, which is left empty without lines."""
    table = _table(WORDS[language][name], lines) if lines else ""
    filled = f"<!-- {name} -->\n\n{table}\n<!-- end -->"
    return re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: filled, text, flags=re.DOTALL)


def input_rows(info: Info, names: dict[str, Any], language: str) -> list[list[str]]:
    """Two columns: the help panel is narrow."""
    words, found = WORDS[language], []
    labels = {} if language == "en" else page_words("choice_words", language)
    for name, (kind, options, optional) in inputs_of(info).items():
        told = names["inputs"][name]
        parts = [words["advanced"]] if options.get("advanced") else []
        if optional and _is_socket(kind, options):
            parts.append(words["optional"])
        choices = kind if isinstance(kind, list) else options.get("options")
        if name in HOST_LISTS:
            parts.append(words[HOST_LISTS[name]])
        elif choices is not None:
            parts.append(str(words["comma"]).join(labels.get(f"{name} {one}", str(one)) for one in choices))
        else:
            parts.append(_values(kind, options, words))
        found.append([f"**{breakable(told['name'])}**<br>{words['comma'].join(parts)}", told["tooltip"]])
    return found


def breakable(name: str) -> str:
    """A long id may break at its underscores, as it would widen its column."""
    return name.replace("_", "_<wbr>") if len(name) > LONGEST_ID else name


def output_rows(info: Info, names: dict[str, Any]) -> list[list[str]]:
    told = [names["outputs"][str(i)] for i in range(len(info["output"]))]
    return [[f"**{one['name']}**<br>{kind}", one["tooltip"]] for kind, one in zip(info["output"], told)]


def _is_socket(kind: Any, options: dict[str, Any]) -> bool:
    return options.get("forceInput", False) or (isinstance(kind, str) and kind not in WIDGETS)


def _values(kind: Any, options: dict[str, Any], words: dict[str, Any]) -> str:
    """What an input takes, and its default: "0–3, default 0.5"."""
    if _is_socket(kind, options):
        return str(kind)
    default = options.get("default")
    if kind == "BOOLEAN":
        return str(words["default"].format(words["on" if default else "off"]))
    if kind in ("INT", "FLOAT"):
        low, high = _number(options["min"]), _number(options["max"])
        span = words["above"].format(low) if options["max"] >= 1e9 else f"{low} – {high}"
        return str(words["comma"].join([span, words["default"].format(_number(default))]))
    if kind == "CURVE":
        return str(words["curve"])
    return str(words["comma"].join([words["text"], *([words["default"].format(default)] if default else [])]))


def _number(value: Any) -> str:
    return f"{Decimal(f'{value:.10g}'):f}"  # no power of ten


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def as_text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def write(nodes: dict[str, Info]) -> None:
    (LOCALES / "en").mkdir(parents=True, exist_ok=True)
    (LOCALES / "en" / "nodeDefs.json").write_text(as_text(beyond_schemas(nodes)), encoding="utf-8")
    (LOCALES / "en" / "main.json").write_text(as_text(MAIN), encoding="utf-8")
    for language in ("en", *TRANSLATED):
        names = locale(language, nodes)
        for node_id, info in nodes.items():
            path = page_path(node_id, language)
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                path.write_text(with_tables(text, info, names[node_id], language), encoding="utf-8")
    readme = PACK / "README.md"
    text = with_table(readme.read_text(encoding="utf-8"), "words", rows(GLOSSARY, "en"), "en")
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    with Host(sys.executable, parser.parse_args().host) as host:
        write(nodes_of(host))


if __name__ == "__main__":
    main()
