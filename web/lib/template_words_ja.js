/** Lines of the templates' notes, their groups' and nodes' titles, in Japanese: see templates.js and sentences.js. */

export const ja = {
  "Read me": "お読みください",
  "{file} from [{page}]({url}) into {folder}": "{file}：[{page}]({url}) → {folder}",
  "{file}, renamed to {name}": "{file}（名前を {name} に変更）",
  "Find your λ, no download needed": "λを見つける（ダウンロード不要）",
  "Press *Run*: 7 λ × 3 seeds, from the same noise.": "*実行*を押す：7つのλ × 3つのシード、同じノイズ。",
  "On *λ Compare* press a picture, or ← → ↑ ↓. Hover wipes against λ 0, F magnifies.":
    "*λ比較*で画像を押すか、← → ↑ ↓。重ねるとλ 0と比べ、Fで拡大。",
  "*Use λ*: the next run makes this one alone. *Keep* saves it, *Finer* sweeps around it.":
    "*λを使う*：次はこの画像だけ。*残す*で保存、*細かく*でそのまわりをスイープ。",
  "*λ Grid* shows what each λ stands for (β/λ), and is saved. Your own models: take *Realign SDXL - DPO sweep*.":
    "*λグリッド*は各λの意味（β/λ）を書き、保存。自分のモデルには *Realign SDXL - DPO sweep* を。",
  "Try λ, no download needed": "λを試す（ダウンロード不要）",
  "Press *Run*.": "*実行*を押す。",
  "Move *λ* on *Realign Sampler*, and run again. The seed is fixed: only λ changes.":
    "*Realignサンプラー*の *λ* を動かし、もう一度実行。シードは固定で、変わるのはλだけ。",
  "λ 0: the reference, muted and varied": "λ 0：参照モデル、落ち着いた色でさまざま",
  "λ 0.5: a safe blend (β doubled)": "λ 0.5：無難な混合（βが2倍）",
  "λ 1: the anchor, trained to be colourful": "λ 1：鮮やかになるよう学習したアンカー",
  "λ 1.5: over-optimised": "λ 1.5：最適化のしすぎ",
  "Then open *Realign SDXL - Diffusion-DPO* or *Realign SD 1.5 - Diffusion-DPO*, and do the same with real models.":
    "そのあと *Realign SDXL - Diffusion-DPO* か *Realign SD 1.5 - Diffusion-DPO* を開き、本物のモデルで同じことを。",
  "λ with every sampler": "どのサンプラーでもλを",
  "*Realign Guider* and *Realign MODEL* give the same mixture, reference + λ · (anchor − reference), to any sampler (RLG).":
    "*Realignガイダー*と *Realign MODEL* は同じ混合、参照 + λ ·（アンカー − 参照）を、どのサンプラーにも渡します（RLG）。",
  "Take the guider where you build the sampler from parts (Flux, SD3.5), and *Realign MODEL* in front of KSampler, detailers and upscalers.":
    "サンプラーを部品から組むとき（Flux、SD3.5）はガイダーを、Kサンプラーやディテーラー、アップスケーラーの前には *Realign MODEL* を。",
  "λ = 0 and λ = 1 are the stock runs of the one and the other model, to the last bit. λ from 1 to 3 extrapolates beyond the anchor.":
    "λ = 0 と λ = 1 は、それぞれのモデルの標準の実行と最後のビットまで同じ。λ が1から3ならアンカーの先へ延長します。",
  "λ by a curve": "カーブで決めるλ",
  "*λ Schedule* holds a curve: λ for each moment of the run, from the first step to the last, times *scale*. *preset…* has others.":
    "*λスケジュール*にはカーブがあります：最初から最後のステップまで、その時々のλに*倍率*を掛けたもの。ほかのは*プリセット…*に。",
  "Here the first steps, which settle the layout, are the reference's. The middle ones, which settle colour and form, get λ up to 1.5.":
    "ここでは、構図を決める最初のステップは参照モデルのもの。色と形を決める中間のステップは、λが1.5まで上がります。",
  "λ = 0.8 throughout is the same seed with a plain λ: its sampler is folded. The KL is spent where λ is.":
    "「ずっと λ = 0.8」は同じシードで一定のλ：サンプラーは畳んであります。KLはλのあるところで使われます。",
  "Draw the curve with the new node renderer (Settings → Nodes 2.0); it runs in both.":
    "カーブは新しいノード表示で描きます（設定 → Nodes 2.0）。実行はどちらでもできます。",
  "Align the subject, keep the background": "主題だけを整え、背景はそのまま",
  "A mask says where λ acts: 1 fully, 0 not at all. Here a soft square in the middle, by stock nodes; any MASK will do, e.g. one painted on *Load Image*.":
    "マスクはλが効く場所を示します：1は完全に、0はまったく。ここでは標準ノードで作った中央のやわらかい四角。*画像を読み込む*で描いたものなど、どんなMASKでも。",
  "Above: λ = 1.2 within the mask; the background stays the reference's.": "上：マスクの中だけ λ = 1.2、背景は参照モデルのまま。",
  "Below: the same seed with λ = 1.2 everywhere, by the sampler that is folded.": "下：同じシードで全体が λ = 1.2、畳んであるサンプラーのもの。",
  "Several anchors with a mask each: *Anchor λ*.": "複数のアンカーにそれぞれマスクを：*アンカーλ*。",
  "Rescue an over-optimised anchor": "最適化しすぎたアンカーを救う",
  "Some aligned models went too far: everything glows, every picture is the same. λ below 1 takes that back without training, as if β had been larger.":
    "行きすぎたアライメント済みモデルがあります：何もかも光り、どれも同じ絵。1より小さいλは、βがもっと大きかったかのように、学習なしでそれを戻します。",
  "λ = 1 is the overdone model. λ = 0.5 is back near the demo anchor as it was trained.":
    "λ = 1 はやりすぎたモデル。λ = 0.5 で、学習したときのデモのアンカーの近くに戻ります。",
  "Here the demo anchor is overdone on purpose: twice its difference to the reference, by stock merge nodes. With your own, *Load Anchor Model* takes their place.":
    "ここではデモのアンカーをわざと行きすぎにしています：標準のマージノードで参照モデルとの差を2倍に。自分のモデルでは*アンカーモデルを読み込む*に置き換えます。",
  "Colourful hearts, without an anchor": "アンカーなしで色鮮やかなハート",
  "Press *Run*. Four particles for each of four pictures are drawn towards the reward and re-drawn by it.":
    "*実行*を押す。4枚の画像それぞれに4つのパーティクルを使い、報酬へ近づけ、報酬で引き直します。",
  "Move *strength*: smaller = stronger. 1 overdoes it, 20 is gentle.": "*強さ*を動かす：小さいほど強い。1は行きすぎ、20は穏やか。",
  "The model alone gives about 22 here: *colourfulness* 0 is grey, 33 moderate, 109 extreme. No model was trained for it.":
    "モデルだけではここで約22：*色鮮やかさ*は0が灰色、33がほどほど、109が極端。そのために学習したモデルはありません。",
  "*held_out* only watches: where it falls while the reward rises, the reward is being exploited.":
    "*ホールドアウト*は見ているだけ：報酬が上がるのにこれが下がれば、報酬の抜け穴が突かれています。",
  "Smaller JPEGs: a reward that is a black box": "小さなJPEG：中身の見えない報酬",
  "A JPEG's size has no gradient. Particles need none: the better ones are kept and go on in several ways.":
    "JPEGの大きさに勾配はありません。パーティクルには不要です：よいものを残し、いくつかの道へ進めます。",
  "Press *Run*, and compare: on the left with the reward, on the right the same seed without. The score is the size in kB, as a minus.":
    "*実行*を押して比べる：左は報酬あり、右は同じシードで報酬なし。点数は大きさ（kB）のマイナス。",
  "More *particles* reach further, and cost as many model calls.": "*パーティクル数*が多いほど遠くまで届き、モデルの呼び出しも同じだけ増えます。",
  "Small files are soft pictures: the held-out sharpness falls.": "小さなファイルは甘い画像：ホールドアウトの鮮明さが下がります。",
  "Two rewards at once, and the front": "2つの報酬を同時に、そしてフロント",
  "Press *Run*: eight hearts that are to be colourful and light, and eight plain ones to compare with.":
    "*実行*を押します：色鮮やかで明るくしたいハートが8つ、比べるための普通のハートが8つ。",
  "*Reward Report* says what was won, and whether the sharpness that nobody asked for was lost.":
    "*報酬レポート*が、何を得たか、誰も求めなかった鮮明さを失ったかを言います。",
  "Turn the weights on *Combine Rewards*, and run again.": "*報酬を組み合わせる*の重みを変えて、もう一度実行します。",
  "Framed: the front, the pictures that no other beats in both. Among them it is a matter of taste.":
    "枠つきがフロント：両方でほかのどれにも負けない画像です。その中では好みの問題です。",
  "Colourful": "色鮮やか",
  "Light": "明るい",
  "What was won": "何を得たか",
  "The front": "フロント",
  "The pictures, the front framed": "画像、フロントは枠つき",
  "The table": "表",
  "λ, and λ corrected": "λと、補正したλ",
  "*correct* weighs four particles by what mixing step by step leaves over: with some anchors nearer to retraining, with others not (README).":
    "*補正*は、ステップごとの混合で足りない分で4つのパーティクルに重みをつけます：学習し直した結果に近づくアンカーもあれば、そうでないものもあります（README）。",
  "Above: as usual. Below: corrected, at four times the calls. At λ 0 and 1 nothing is left over.":
    "上：いつもどおり。下：補正後、呼び出しは4倍。λが0と1では足りない分がありません。",
  "SD 1.5, from base to Diffusion-DPO": "SD 1.5、ベースから Diffusion-DPO へ",
  "SD 3.5 medium, from base to Flow-GRPO": "SD 3.5 medium、ベースから Flow-GRPO へ",
  "SDXL, from base to Diffusion-DPO": "SDXL、ベースから Diffusion-DPO へ",
  "SDXL, sampled as in DeRaDiff's paper": "SDXL、DeRaDiffの論文のとおりにサンプリング",
  "SD 1.5, sampled as in DeRaDiff's paper": "SD 1.5、DeRaDiffの論文のとおりにサンプリング",
  "The paper samples with diffusers' Euler ancestral, 50 steps. To rounding that is *ddpm* with this scheduler.":
    "論文はdiffusersのEuler ancestral、50ステップです。このスケジューラの *ddpm* は、丸め誤差を除いてそれと同じです。",
  "*ddim_uniform* is diffusers' “leading”, which SDXL's own files ask for.":
    "*ddim_uniform* はdiffusersの「leading」で、SDXLのファイルが指定しているものです。",
  "*normal* is diffusers' “linspace”, which SD 1.5's files lead to.":
    "*normal* はdiffusersの「linspace」で、SD 1.5のファイルからはこれになります。",
  "Take a number of steps that divides 1000 (20, 25, 40, 50 …): with others the two place their steps otherwise.":
    "ステップ数は1000を割り切る数（20、25、40、50など）に。そうでないと、両者のステップの位置が違ってきます。",
  "SDXL and Diffusion-DPO at five λ": "SDXLとDiffusion-DPO、5つのλ",
  "Start at λ = 0.5 with a fixed seed. 0 is the reference, 1 the anchor; above 1 extrapolates.":
    "シードを固定し、λ = 0.5 から。0は参照モデル、1はアンカー、1より上は外挿。",
  "Keep the LoRA's adapter_config.json beside it: its scale is there.":
    "LoRAの adapter_config.json を隣に置いてください：スケールが書いてあります。",
  "RLG: a flow model beyond its anchor": "RLG：アンカーの先へ進むフローモデル",
  "With flow models trained by reinforcement, λ from 1 to 3 follows the reward further than the anchor does.":
    "強化学習したフローモデルでは、λ 1〜3 がアンカーより先まで報酬を追います。",
  "*Realign Guider* works with every sampler. The LoRA needs no second model in memory.":
    "*Realignガイダー*はどのサンプラーでも使えます。LoRAならメモリに2つ目のモデルは要りません。",
  "Press *Run*: five pictures from the same noise.": "*実行*を押す：同じノイズから5枚。",
  "Look at them on *λ Compare*. *Use λ*: the next run makes the one you like alone. *Keep* saves it.":
    "*λ比較*で見る。*λを使う*：次の実行は気に入ったものだけを作る。*残す*で保存。",
  "0 is SDXL, 1 is DPO as trained, 0.5 a model trained at twice its β. Above 1 extrapolates. Choose the λ on a few prompts and seeds: *seeds* on *λ Sweep*.":
    "0はSDXL、1は学習したままのDPO、0.5は2倍のβで学習したモデル。1より上は外挿。λはいくつかのプロンプトとシードで選びます：*λスイープ*の*シード数*。",
  "SDXL towards PickScore, watched by HPS": "SDXLをPickScoreへ、HPSが見守る",
  "No anchor, no training: PickScore and the aesthetic score together draw the picture, HPS v2.1 only watches. *prompt* on *Realign Particles* is what PickScore and HPS compare with.":
    "アンカーも学習もなし：PickScoreと美的スコアが一緒に画像を引き寄せ、HPS v2.1は見ているだけ。PickScoreとHPSが比べるのは *Realignパーティクル*の*プロンプト*です。",
  "Overdone, or HPS falls? Raise *strength*. Little changes? Lower it. Short of memory? Set *decode* to quarter size.":
    "やりすぎ、またはHPSが下がる？ *強さ*を上げる。変化が小さい？ 下げる。メモリ不足？ *デコード方法*を4分の1の大きさに。",
  "Two rewards at once": "2つの報酬を同時に",
  "*Half of each* gives each anchor its share of λ: at λ = 1 each has 0.5.": "*半分ずつ*がλを分けます：λ = 1 なら0.5ずつ。",
  "DPO learned what people prefer, SPO what looks good. Shares of 1 and 0 are DPO alone, 0 and 1 SPO alone. Each step costs up to three models.":
    "DPOは人の好みを、SPOは見た目のよさを学習。割合1と0はDPOだけ、0と1はSPOだけ。1ステップで最大3モデル。",
  "Prompt": "プロンプト",
  "All λ at once": "すべてのλを一度に",
  "Look, choose and keep": "見て、選んで、残す",
  "All λ in one picture": "すべてのλを1枚に",
  "Demo models": "デモモデル",
  "Picture": "画像",
  "Models": "モデル",
  "Turn λ here": "ここでλを動かす",
  "What the run did": "実行がしたこと",
  "Models and λ": "モデルとλ",
  "Two runs of one seed": "同じシードの2つの実行",
  "Demo models and rewards": "デモモデルと報酬",
  "Values of λ": "λの値",
  "As a GUIDER": "GUIDERとして",
  "As a MODEL": "MODELとして",
  "Its picture": "その画像",
  "λ over the run": "実行全体のλ",
  "λ by the curve": "カーブによるλ",
  "λ = 0.8 throughout": "ずっと λ = 0.8",
  "Where the KL is spent": "KLが使われるところ",
  "Where λ acts": "λが効くところ",
  "λ = 1.2 within the mask": "マスクの中だけ λ = 1.2",
  "λ = 1.2 everywhere": "全体が λ = 1.2",
  "An overdone anchor": "行きすぎたアンカー",
  "λ up to 1": "λは1まで",
  "Pictures": "画像",
  "With the reward": "報酬あり",
  "Without": "報酬なし",
  "As usual": "いつもどおり",
  "Corrected": "補正後",
  "The sampler's parts": "サンプラーの部品",
  "Model": "モデル",
  "What is good": "何がよいか",
  "Only watched": "見るだけ",
  "Reference and λ": "参照モデルとλ",
  "Two anchors": "2つのアンカー",
  "Positive": "ポジティブ",
  "Negative": "ネガティブ",
  "Reference": "参照モデル",
  "Save the grid": "グリッドを保存",
  "Save the pictures": "画像を保存",
  "Trace: λ, σ, KL, model calls": "トレース：λ、σ、KL、モデル呼び出し",
  "Held out: only watched": "ホールドアウト：見るだけ",
  "Anchor: Diffusion-DPO": "アンカー：Diffusion-DPO",
  "Anchor: Flow-GRPO (LoRA)": "アンカー：Flow-GRPO（LoRA）",
  "Anchor: SPO (LoRA)": "アンカー：SPO（LoRA）",
  "Enlarge to look at": "見やすく拡大",
  "Background: 0": "背景：0",
  "Subject: 1": "主題：1",
  "Soft edges": "やわらかい縁",
  "2 × (anchor − reference)": "2 ×（アンカー − 参照）",
  "reference + that": "参照 + それ",
  "The over-optimised anchor": "最適化しすぎたアンカー",
  "Plain run": "ふつうの実行",
  "PickScore": "PickScore",
  "Aesthetic score": "美的スコア",
  "Held out: HPS v2.1": "ホールドアウト：HPS v2.1",
  "Half of each": "半分ずつ",
  "Your own taste as a reward": "自分の好みを報酬に",
  "Press *Run*: sixteen pictures, as the model makes them.": "*実行*を押します：モデルがそのまま作る16枚です。",
  "On *Pick*, press a picture and star it with S: the three or four that you like best.":
    "*ピック*で画像を押し、Sで星を付けます：一番好きな3、4枚に。",
  "Press *Run* again. The next sixteen move towards them. Three or four rounds are plenty.":
    "もう一度*実行*します。次の16枚がそちらへ動きます。3、4回で十分です。",
  "*Learned Taste* keeps what it knows under *name*, for tomorrow: another name starts anew. Nothing leaves your machine.":
    "*好みの学習*は分かったことを*名前*で保存し、明日も使えます。別の名前なら最初からです。何も外へ送りません。",
  "Too much alike? Raise *strength*, or set *judge* to try new things too.": "似すぎていますか？ *強度*を上げるか、*判断*を新しいものも試すにします。",
  "What you like": "好きなもの",
  "Star the better ones": "良いものに星を",
  "Find the λ, no download needed": "λ を見つける、ダウンロード不要",
  "Press *Run*: it makes a few pictures, looks where the best λ must be, and makes more there.": "*実行*を押すと、まず数枚を作り、最良の λ がありそうな所でさらに作ります。",
  "*λ Search* says the λ and how sure it is; the curve shows what it knows.": "*λサーチ*が λ とその確かさを示し、曲線がわかっていることを見せます。",
  "Change *may_fall* or *kl_budget*, and run again: with a *name* it takes the pictures that are there.": "*下がってよい幅*や *KL の予算*を変えてもう一度。*名前*があれば、ある画像を使います。",
  "Wanted: the most colourful hearts whose brightness falls by no more than 25.": "ほしいもの：明るさの低下が 25 までで、いちばん色鮮やかなハート。",
  "To be largest": "最大にする",
  "Must not fall much": "あまり下げない",
  "What is known": "わかっていること",
  "The curve": "曲線",
};
