/** What the widgets say, in the page's language. The English text is the key; what has no translation stays English. */

import { app } from "../../../scripts/app.js";

const zh = {
  "Run: the pictures of the λ sweep appear here, to flip through with the slider or ← →.":
    "运行后，λ 扫描的图像会出现在这里，用滑块或 ← → 翻看。",
  "Row above": "上一行",
  "Run: what is right and what is not with these models appears here.": "运行后，这里会列出这些模型哪里正确、哪里不正确。",
  "What the check found": "检查结果",
  "Copy the report": "复制报告",
  Copied: "已复制",
  "Connect the output to “Preview as Text”, and copy it there": "请把输出连到“预览文本”，在那里复制",
  "Row below": "下一行",
  "λ of the picture": "图像的 λ",
  "λ comparison": "λ 对比",
  "Sweep again": "重新扫描",
  "Use {name}": "使用 {name}",
  "This picture is gone from the host: press Run to make it again.": "主机上已没有这张图：按“运行”重新生成。",
  "Sets {name}, and bypasses λ Sweep: the next run makes this picture alone.": "设为 {name}，并绕过 λ 扫描：下一次运行只生成这张图。",
  "The λ sweep is connected here, but not to the sampler or guider: these pictures have its slider's λ.":
    "λ 扫描连到了这里，但没有连到采样器或引导器：这些图用的是滑块的 λ。",
  masked: "有遮罩",
  "The run, as it goes": "运行情况",
  "{name} cannot be set here: it comes from “{from}”.": "{name} 无法在此设置：它来自“{from}”。",
  "seed {seed}": "种子 {seed}",
  "seed +{seed}": "种子 +{seed}",
  "image {image}": "图像 {image}",
  fixed: "固定",
  "λ acts once an anchor is connected": "接上锚点后 λ 才起作用",
  "λ comes from “{from}”": "λ 来自“{from}”",
  "from “{from}”: {line}": "来自“{from}”：{line}",
  "row {row} of {rows}": "第 {row} 行，共 {rows} 行",
  "{name}, {count} pictures": "{name}，共 {count} 张图",
  "KL from the reference over the whole run, in nats": "整个运行与参考模型的 KL，单位 nat",
  "Connect the λ sweep to know this picture's λ.": "连接 λ 扫描，才知道这张图的 λ。",
  "No Realign node lies before these images.": "这些图像的上游没有 Realign 节点。",
  "λ {lambda} lies beyond the slider ({min} to {max}).": "λ {lambda} 超出滑块范围（{min} 到 {max}）。",
  "{name} is set: the next run samples it alone.": "已设为 {name}：下一次运行只采样这一张。",
  "The sweep is no longer connected.": "扫描已不再连接。",
  "The next run sweeps λ again.": "下一次运行会重新扫描 λ。",
  "What λ stands for": "λ 的含义",
  "λ comes from the connected schedule/sweep": "λ 来自已连接的调度或扫描",
  "λ comes from the anchor's own schedule (Anchor λ)": "λ 来自锚点自己的调度（锚点 λ）",
  "several anchors: strength {lambda}": "多个锚点：强度 {lambda}",
  "strength {lambda} ({why})": "强度 {lambda}（{why}）",
  "β is known after a run": "运行一次后才知道 β",
  "the anchor has no known β": "锚点的 β 未知",
  "anchor β {beta} · λ {lambda}": "锚点 β {beta} · λ {lambda}",
  "stronger pull to the reference": "更靠近参考模型",
  "weaker pull to the reference": "更远离参考模型",
  "away from the anchor": "远离锚点",
  "away from the anchors": "远离这些锚点",
  "the reference itself": "就是参考模型",
  "the anchor itself": "就是锚点模型",
  "preset…": "预设…",
  "Preset of the λ curve": "λ 曲线的预设",
  "λ over the run": "整个运行中的 λ",
  "step 1 … {steps}": "第 1 … {steps} 步",
  "log σ, from the first noise level to the last": "log σ，从第一个到最后一个噪声水平",
  "{steps} steps, as connected": "{steps} 步，与所连节点相同",
  "ramp up": "渐强",
  "ramp down": "渐弱",
  "early half": "前半段",
  "late half": "后半段",
  "middle only": "仅中段",
  bell: "钟形",
  "S-curve": "S 形",
  steps: "阶梯",
  "Show advanced inputs": "显示高级输入",
  "Hide advanced inputs": "隐藏高级输入",
};

const ja = {
  "Run: the pictures of the λ sweep appear here, to flip through with the slider or ← →.":
    "実行すると、λスイープの画像がここに並び、スライダーか ← → でめくれます。",
  "Row above": "上の行",
  "Run: what is right and what is not with these models appears here.":
    "実行すると、これらのモデルで何が正しく、何が正しくないかがここに表示されます。",
  "What the check found": "確認の結果",
  "Copy the report": "レポートをコピー",
  Copied: "コピーしました",
  "Connect the output to “Preview as Text”, and copy it there": "出力を「テキストとしてプレビュー」につなぎ、そこでコピーしてください",
  "Row below": "下の行",
  "λ of the picture": "画像のλ",
  "λ comparison": "λ比較",
  "Sweep again": "スイープに戻す",
  "Use {name}": "{name} を使う",
  "This picture is gone from the host: press Run to make it again.": "この画像はホストにもうありません。実行して作り直してください。",
  "Sets {name}, and bypasses λ Sweep: the next run makes this picture alone.":
    "{name} にし、λスイープをバイパスします。次の実行はこの画像だけを作ります。",
  "The λ sweep is connected here, but not to the sampler or guider: these pictures have its slider's λ.":
    "λスイープはここにはつながっていますが、サンプラーやガイダーにはつながっていません。これらの画像はスライダーのλです。",
  masked: "マスクあり",
  "The run, as it goes": "実行のようす",
  "{name} cannot be set here: it comes from “{from}”.": "{name} はここでは設定できません。「{from}」から来ています。",
  "seed {seed}": "シード {seed}",
  "seed +{seed}": "シード +{seed}",
  "image {image}": "画像 {image}",
  fixed: "固定",
  "λ acts once an anchor is connected": "アンカーをつなぐと λ が効きます",
  "λ comes from “{from}”": "λは「{from}」から来ます",
  "from “{from}”: {line}": "「{from}」から：{line}",
  "row {row} of {rows}": "{rows}行中{row}行目",
  "{name}, {count} pictures": "{name}、全{count}枚",
  "KL from the reference over the whole run, in nats": "実行全体の参照モデルとのKL（nat）",
  "Connect the λ sweep to know this picture's λ.": "この画像のλを知るには、λスイープをつないでください。",
  "No Realign node lies before these images.": "これらの画像の上流にRealignノードがありません。",
  "λ {lambda} lies beyond the slider ({min} to {max}).": "λ {lambda} はスライダーの範囲（{min}から{max}）の外です。",
  "{name} is set: the next run samples it alone.": "{name} にしました：次の実行はこれだけをサンプリングします。",
  "The sweep is no longer connected.": "スイープはもうつながっていません。",
  "The next run sweeps λ again.": "次の実行は再びλをスイープします。",
  "What λ stands for": "λの意味",
  "λ comes from the connected schedule/sweep": "λは接続したスケジュールかスイープから来ます",
  "λ comes from the anchor's own schedule (Anchor λ)": "λはアンカー自身のスケジュール（アンカーλ）から来ます",
  "several anchors: strength {lambda}": "複数のアンカー：強さ {lambda}",
  "strength {lambda} ({why})": "強さ {lambda}（{why}）",
  "β is known after a run": "βは実行後にわかります",
  "the anchor has no known β": "アンカーのβは不明です",
  "anchor β {beta} · λ {lambda}": "アンカー β {beta} · λ {lambda}",
  "stronger pull to the reference": "参照モデルにより近い",
  "weaker pull to the reference": "参照モデルからより遠い",
  "away from the anchor": "アンカーから離れる",
  "away from the anchors": "アンカーから離れる",
  "the reference itself": "参照モデルそのもの",
  "the anchor itself": "アンカーそのもの",
  "preset…": "プリセット…",
  "Preset of the λ curve": "λカーブのプリセット",
  "λ over the run": "実行全体のλ",
  "step 1 … {steps}": "ステップ 1 … {steps}",
  "log σ, from the first noise level to the last": "log σ、最初のノイズレベルから最後まで",
  "{steps} steps, as connected": "{steps}ステップ（接続先と同じ）",
  "ramp up": "徐々に強く",
  "ramp down": "徐々に弱く",
  "early half": "前半",
  "late half": "後半",
  "middle only": "中間だけ",
  bell: "釣鐘形",
  "S-curve": "S字",
  steps: "階段",
  "Show advanced inputs": "詳細入力を表示",
  "Hide advanced inputs": "詳細入力を隠す",
};

const LANGUAGES = { zh, ja };

/** Of tables {zh, ja}, that of the page's language; undefined in English. */
export function tableOf(tables) {
  const language = app.ui?.settings?.getSettingValue?.("Comfy.Locale");
  return Object.hasOwn(tables, language) ? tables[language] : undefined;
}

/** What tables {zh, ja} have for a text in the page's language; undefined where that is nothing. */
export function translation(tables, text) {
  const table = tableOf(tables);
  return table && Object.hasOwn(table, text) ? table[text] : undefined;
}

/** The text in the page's language, with {name} replaced by `values.name`. */
export function words(text, values = {}) {
  return filled(translation(LANGUAGES, text) ?? text, values);
}

export const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
