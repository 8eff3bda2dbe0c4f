"""Ten words that one has to know, in plain ones: README.md and the help pages take them from here."""

from __future__ import annotations

import re
from typing import NamedTuple


class Word(NamedTuple):
    """found: by what an English help page tells that it uses the word. name and text: by language."""

    found: str
    name: dict[str, str]
    text: dict[str, str]


GLOSSARY = (
    Word(
        "λ",
        {"en": "λ", "zh": "λ", "ja": "λ"},
        {
            "en": "How much of the aligned model's look the picture has: 0 none, 0.5 a blend, 1 all of it, above 1 "
            "more still.",
            "zh": "图像里有多少对齐后模型的风貌：0 没有，0.5 是混合，1 全部，大于 1 则更强。",
            "ja": "画像にアライメント済みモデルの雰囲気がどれだけあるか：0はなし、0.5は混合、1はすべて、1より上はさらに"
            "強く。",
        },
    ),
    Word(
        r"\breference\b",
        {"en": "reference", "zh": "参考模型", "ja": "参照モデル"},
        {
            "en": "Your base model, as it was before alignment. λ 0 gives its picture.",
            "zh": "你的基础模型，对齐之前的样子。λ 为 0 得到它的图像。",
            "ja": "アライメント前の、もとのベースモデル。λ 0 でその画像になります。",
        },
    ),
    Word(
        r"\banchors?\b",
        {"en": "anchor", "zh": "锚点模型", "ja": "アンカー"},
        {
            "en": "The aligned model: the base model, trained further to please people or to score well. λ 1 gives its "
            "picture.",
            "zh": "对齐后的模型：在基础模型上继续训练，使它更讨人喜欢或得分更高。λ 为 1 得到它的图像。",
            "ja": "アライメント済みのモデル：人に好まれるよう、または点数が上がるよう、ベースモデルをさらに学習したもの"
            "。λ 1 でその画像になります。",
        },
    ),
    Word(
        "β",
        {"en": "β", "zh": "β", "ja": "β"},
        {
            "en": "How tightly its training held the aligned model to the base model. Large: its pictures stay close; "
            "small: they may go far. A λ stands for β/λ.",
            "zh": "训练时把对齐后的模型拴在基础模型上有多紧。大：图像离得近；小：可以走得远。λ 相当于 β/λ。",
            "ja": "学習のとき、アライメント済みモデルをベースモデルにどれだけ強くつなぎとめたか。大きければ画像は近く、"
            "小さければ遠くまで行けます。λはβ/λにあたります。",
        },
    ),
    Word(
        r"\bKL\b",
        {"en": "KL", "zh": "KL", "ja": "KL"},
        {
            "en": "How far a picture was drawn from what the base model would draw, in nats: 0 is not at all.",
            "zh": "图像被带离基础模型会画的样子有多远，单位 nat：0 表示没有离开。",
            "ja": "画像が、ベースモデルなら描くものからどれだけ離れたか（単位はnat）：0はまったく離れていません。",
        },
    ),
    Word(
        r"η|\beta\b",
        {"en": "η (eta)", "zh": "η（eta）", "ja": "η（eta）"},
        {
            "en": "How much new noise each step brings: 0 none (DDIM), 1 most (DDPM). Another η gives another picture "
            "of the same seed.",
            "zh": "每一步带来多少新噪波：0 没有（DDIM），1 最多（DDPM）。同一个种子，η 不同，图像也不同。",
            "ja": "各ステップで新しいノイズをどれだけ足すか：0はなし（DDIM）、1は最大（DDPM）。同じシードでも、ηが違え"
            "ば画像が変わります。",
        },
    ),
    Word(
        r"\bsweeps?\b",
        {"en": "sweep", "zh": "扫描", "ja": "スイープ"},
        {
            "en": "One run that makes a row of pictures from the same noise, each with another λ, to choose from.",
            "zh": "一次运行，从同一个噪波做出一排图像，每张一个 λ，供你挑选。",
            "ja": "同じノイズから、λだけが違う画像を1列に作る実行。そこから選びます。",
        },
    ),
    Word(
        r"\bdrafts?\b",
        {"en": "draft", "zh": "草稿", "ja": "下描き"},
        {
            "en": "A picture near the exact one, made with fewer model calls: to choose by, not to keep.",
            "zh": "接近精确结果的图像，用较少的模型调用做成：用来挑选，不用来保存。",
            "ja": "正確なものに近い画像を、少ないモデル呼び出しで作ったもの：選ぶためで、残すためではありません。",
        },
    ),
    Word(
        r"\bparticles?\b",
        {"en": "particles", "zh": "粒子", "ja": "パーティクル"},
        {
            "en": "Several versions of one picture in the making: on the way the better ones are copied, the others "
            "dropped.",
            "zh": "同一张图像正在成形的几个版本：途中好的被复制，其他的被丢掉。",
            "ja": "1枚の画像の、描きかけのいくつかの版：途中でよいものは複製され、ほかは捨てられます。",
        },
    ),
    Word(
        r"\brewards?\b",
        {"en": "reward", "zh": "奖励", "ja": "報酬"},
        {
            "en": "A number that says how good a picture is, e.g. how colourful, or how well it fits the prompt: "
            "higher is better.",
            "zh": "说明图像有多好的一个数，例如有多鲜艳，或与提示词有多相符：越高越好。",
            "ja": "画像がどれだけよいかを表す数。たとえば、どれだけ色鮮やかか、プロンプトにどれだけ合うか：高いほどよい"
            "。",
        },
    ),
)


def words_on(page: str) -> list[Word]:
    """The words that an English help page uses, in the glossary's order."""
    return [word for word in GLOSSARY if re.search(word.found, page, re.IGNORECASE)]


def rows(words: list[Word] | tuple[Word, ...], language: str) -> list[list[str]]:
    return [[f"**{word.name[language]}**", word.text[language]] for word in words]
