/** Lines of the templates' notes, their groups' and nodes' titles, in Chinese: see templates.js and sentences.js. */

export const zh = {
  "Read me": "说明",
  "{file} from [{page}]({url}) into {folder}": "{file}：[{page}]({url}) → {folder}",
  "{file}, renamed to {name}": "{file}，改名为 {name}",
  "Find your λ, no download needed": "找到你的 λ，无需下载",
  "Press *Run*: 7 λ × 3 seeds, from the same noise.": "按*运行*：7 个 λ × 3 个种子，都从同一个噪波开始。",
  "On *λ Compare* press a picture, or ← → ↑ ↓. Hover wipes against λ 0, F magnifies.":
    "在 *λ 对比*上点一张图，或按 ← → ↑ ↓。鼠标移过就与 λ 0 划动对照，F 放大。",
  "*Use λ*: the next run makes this one alone. *Keep* saves it, *Finer* sweeps around it.":
    "*使用 λ*：下一次运行只生成这张图。*保存*把它存下来，*更细*在它周围扫描。",
  "*λ Grid* shows what each λ stands for (β/λ), and is saved. Your own models: take *Realign SDXL - DPO sweep*.":
    "*λ 网格图*写出每个 λ 的含义（β/λ），并会保存。要用自己的模型，请打开 *Realign SDXL - DPO sweep*。",
  "Try λ, no download needed": "试试 λ，无需下载",
  "Press *Run*.": "按*运行*。",
  "Move *λ* on *Realign Sampler*, and run again. The seed is fixed: only λ changes.":
    "移动 *Realign 采样器*上的 *λ*，再运行。种子固定：只有 λ 在变。",
  "λ 0: the reference, muted and varied": "λ 0：参考模型，颜色柔和，变化多样",
  "λ 0.5: a safe blend (β doubled)": "λ 0.5：稳妥的混合（β 加倍）",
  "λ 1: the anchor, trained to be colourful": "λ 1：锚点模型，训练得颜色鲜艳",
  "λ 1.5: over-optimised": "λ 1.5：优化过头",
  "Then open *Realign SDXL - Diffusion-DPO* or *Realign SD 1.5 - Diffusion-DPO*, and do the same with real models.":
    "然后打开 *Realign SDXL - Diffusion-DPO* 或 *Realign SD 1.5 - Diffusion-DPO*，用真正的模型做同样的事。",
  "λ with every sampler": "任何采样器都能用 λ",
  "*Realign Guider* and *Realign MODEL* give the same mixture, reference + λ · (anchor − reference), to any sampler (RLG).":
    "*Realign 引导器*和 *Realign MODEL* 给任何采样器同样的混合：参考 + λ ·（锚点 − 参考）（RLG）。",
  "Take the guider where you build the sampler from parts (Flux, SD3.5), and *Realign MODEL* in front of KSampler, detailers and upscalers.":
    "用零件搭采样器时（Flux、SD3.5）用引导器；在 K采样器、细节修复和放大之前用 *Realign MODEL*。",
  "λ = 0 and λ = 1 are the stock runs of the one and the other model, to the last bit. λ from 1 to 3 extrapolates beyond the anchor.":
    "λ = 0 和 λ = 1 分别是两个模型的原版运行，一位不差。λ 从 1 到 3 会外推到锚点模型之外。",
  "λ by a curve": "用曲线给出 λ",
  "*λ Schedule* holds a curve: λ for each moment of the run, from the first step to the last, times *scale*. *preset…* has others.":
    "*λ 调度*里有一条曲线：从第一步到最后一步，每一刻的 λ，再乘以*缩放*。*预设…*里还有别的。",
  "Here the first steps, which settle the layout, are the reference's. The middle ones, which settle colour and form, get λ up to 1.5.":
    "这里，决定构图的前几步用参考模型；决定颜色和形状的中间几步，λ 升到 1.5。",
  "λ = 0.8 throughout is the same seed with a plain λ: its sampler is folded. The KL is spent where λ is.":
    "“全程 λ = 0.8”是同一个种子用不变的 λ：它的采样器已折叠。λ 在哪里，KL 就花在哪里。",
  "Draw the curve with the new node renderer (Settings → Nodes 2.0); it runs in both.":
    "曲线要在新的节点界面里画（设置 → Nodes 2.0）；两种界面都能运行。",
  "Align the subject, keep the background": "只对齐主体，背景不变",
  "A mask says where λ acts: 1 fully, 0 not at all. Here a soft square in the middle, by stock nodes; any MASK will do, e.g. one painted on *Load Image*.":
    "遮罩说明 λ 在哪里起作用：1 完全，0 完全不。这里是用原版节点做的中间柔和方块；任何遮罩都行，例如在*加载图像*上画的。",
  "Above: λ = 1.2 within the mask; the background stays the reference's.": "上：遮罩内 λ = 1.2；背景仍是参考模型的。",
  "Below: the same seed with λ = 1.2 everywhere, by the sampler that is folded.": "下：同一个种子，处处 λ = 1.2，来自折叠的采样器。",
  "Several anchors with a mask each: *Anchor λ*.": "几个锚点各用一个遮罩：*锚点 λ*。",
  "Rescue an over-optimised anchor": "挽救优化过头的锚点模型",
  "Some aligned models went too far: everything glows, every picture is the same. λ below 1 takes that back without training, as if β had been larger.":
    "有些对齐模型走得太远：到处发光，张张雷同。λ 小于 1 不用训练就能收回来，就像当初 β 更大。",
  "λ = 1 is the overdone model. λ = 0.5 is back near the demo anchor as it was trained.":
    "λ = 1 是过头的模型。λ = 0.5 又回到演示锚点训练出来的样子附近。",
  "Here the demo anchor is overdone on purpose: twice its difference to the reference, by stock merge nodes. With your own, *Load Anchor Model* takes their place.":
    "这里故意让演示锚点过头：用原版融合节点把它与参考模型的差加倍。用自己的模型时，换成*加载锚点模型*。",
  "Colourful hearts, without an anchor": "鲜艳的心，不用锚点模型",
  "Press *Run*. Four particles for each of four pictures are drawn towards the reward and re-drawn by it.":
    "按*运行*。四张图各用四个粒子，朝奖励移动，再按奖励重新抽取。",
  "Move *strength*: smaller = stronger. 1 overdoes it, 20 is gentle.": "调*强度*：越小越强。1 过头，20 温和。",
  "The model alone gives about 22 here: *colourfulness* 0 is grey, 33 moderate, 109 extreme. No model was trained for it.":
    "这里单用模型约为 22：*鲜艳度* 0 是灰色，33 中等，109 极强。没有为它训练任何模型。",
  "*held_out* only watches: where it falls while the reward rises, the reward is being exploited.":
    "*留出奖励*只是旁观：奖励上升而它下降，就是奖励被钻了空子。",
  "Smaller JPEGs: a reward that is a black box": "更小的 JPEG：黑箱式的奖励",
  "A JPEG's size has no gradient. Particles need none: the better ones are kept and go on in several ways.":
    "JPEG 的大小没有梯度。粒子也不需要：好的留下，再分几路走下去。",
  "Press *Run*, and compare: on the left with the reward, on the right the same seed without. The score is the size in kB, as a minus.":
    "按*运行*再比较：左边有奖励，右边是同一个种子没有奖励。分数是以 kB 计的大小，取负数。",
  "More *particles* reach further, and cost as many model calls.": "*粒子数*越多走得越远，模型调用也同样增多。",
  "Small files are soft pictures: the held-out sharpness falls.": "文件小，图就软：留出的清晰度下降。",
  "Two rewards at once, and the front": "同时要两个奖励，以及前沿",
  "Press *Run*: eight hearts that are to be colourful and light, and eight plain ones to compare with.":
    "按*运行*：八颗既要鲜艳又要明亮的心，和八颗普通的心作对照。",
  "*Reward Report* says what was won, and whether the sharpness that nobody asked for was lost.":
    "*奖励报告*说出得到了什么，以及没有人要求过的清晰度是否丢了。",
  "Turn the weights on *Combine Rewards*, and run again.": "调*组合奖励*上的权重，再运行。",
  "Framed: the front, the pictures that no other beats in both. Among them it is a matter of taste.":
    "加框的是前沿：没有别的图像在两方面都胜过它们。在它们之间选，就看口味了。",
  "Colourful": "鲜艳",
  "Light": "明亮",
  "What was won": "得到了什么",
  "The front": "前沿",
  "The pictures, the front framed": "图像，前沿加框",
  "The table": "表格",
  "λ, and λ corrected": "λ，以及校正后的 λ",
  "*correct* weighs four particles by what mixing step by step leaves over: with some anchors nearer to retraining, with others not (README).":
    "*校正*按逐步混合所缺的部分给四个粒子加权：有些锚点由此更接近重新训练，有些则不会（README）。",
  "Above: as usual. Below: corrected, at four times the calls. At λ 0 and 1 nothing is left over.":
    "上：照常。下：校正后，调用为四倍。λ 为 0 和 1 时什么也不缺。",
  "SD 1.5, from base to Diffusion-DPO": "SD 1.5，从基础模型到 Diffusion-DPO",
  "SD 3.5 medium, from base to Flow-GRPO": "SD 3.5 medium，从基础模型到 Flow-GRPO",
  "SDXL, from base to Diffusion-DPO": "SDXL，从基础模型到 Diffusion-DPO",
  "SDXL, sampled as in DeRaDiff's paper": "SDXL，按 DeRaDiff 论文采样",
  "SD 1.5, sampled as in DeRaDiff's paper": "SD 1.5，按 DeRaDiff 论文采样",
  "The paper samples with diffusers' Euler ancestral, 50 steps. To rounding that is *ddpm* with this scheduler.":
    "论文用 diffusers 的 Euler ancestral，50 步。用这个调度器，*ddpm* 与它只差舍入误差。",
  "*ddim_uniform* is diffusers' “leading”, which SDXL's own files ask for.":
    "*ddim_uniform* 就是 diffusers 的“leading”，SDXL 自带的文件要求用它。",
  "*normal* is diffusers' “linspace”, which SD 1.5's files lead to.":
    "*normal* 就是 diffusers 的“linspace”，SD 1.5 的文件会得到它。",
  "Take a number of steps that divides 1000 (20, 25, 40, 50 …): with others the two place their steps otherwise.":
    "步数请取能整除 1000 的（20、25、40、50 等）：否则两边的步落在不同的位置。",
  "SDXL and Diffusion-DPO at five λ": "SDXL 与 Diffusion-DPO，五个 λ",
  "Start at λ = 0.5 with a fixed seed. 0 is the reference, 1 the anchor; above 1 extrapolates.":
    "固定种子，从 λ = 0.5 开始。0 是参考模型，1 是锚点模型；大于 1 是外推。",
  "Keep the LoRA's adapter_config.json beside it: its scale is there.": "把 LoRA 的 adapter_config.json 放在它旁边：缩放写在里面。",
  "RLG: a flow model beyond its anchor": "RLG：让流匹配模型越过锚点",
  "With flow models trained by reinforcement, λ from 1 to 3 follows the reward further than the anchor does.":
    "对于用强化学习训练的流匹配模型，λ 从 1 到 3 会比锚点模型更追随奖励。",
  "*Realign Guider* works with every sampler. The LoRA needs no second model in memory.":
    "*Realign 引导器*适用于任何采样器。LoRA 不需要内存里有第二个模型。",
  "Press *Run*: five pictures from the same noise.": "按*运行*：同一个噪波的五张图。",
  "Look at them on *λ Compare*. *Use λ*: the next run makes the one you like alone. *Keep* saves it.":
    "在 *λ 对比*上看。*使用 λ*：下一次运行只生成喜欢的那张。*保存*把它存下来。",
  "0 is SDXL, 1 is DPO as trained, 0.5 a model trained at twice its β. Above 1 extrapolates. Choose the λ on a few prompts and seeds: *seeds* on *λ Sweep*.":
    "0 是 SDXL，1 是训练好的 DPO，0.5 相当于以两倍 β 训练的模型。大于 1 是外推。多看几个提示词和种子再选 λ：*λ 扫描*上的*种子数*。",
  "SDXL towards PickScore, watched by HPS": "SDXL 朝 PickScore 走，由 HPS 旁观",
  "No anchor, no training: PickScore and the aesthetic score together draw the picture, HPS v2.1 only watches. *prompt* on *Realign Particles* is what PickScore and HPS compare with.":
    "没有锚点，也不训练：PickScore 和美学分一起牵引图像，HPS v2.1 只旁观。PickScore 和 HPS 比较的是 *Realign 粒子*上的*提示词*。",
  "Overdone, or HPS falls? Raise *strength*. Little changes? Lower it. Short of memory? Set *decode* to quarter size.":
    "过头了，或 HPS 下降？调大*强度*。变化太小？调小它。内存不够？把*解码方式*设为四分之一大小。",
  "Two rewards at once": "同时用两个奖励",
  "*Half of each* gives each anchor its share of λ: at λ = 1 each has 0.5.": "*各占一半*给每个锚点它那份 λ：λ = 1 时各为 0.5。",
  "DPO learned what people prefer, SPO what looks good. Shares of 1 and 0 are DPO alone, 0 and 1 SPO alone. Each step costs up to three models.":
    "DPO 学人的偏好，SPO 学好看。份额 1 和 0 只有 DPO，0 和 1 只有 SPO。每步最多三个模型。",
  "Prompt": "提示词",
  "All λ at once": "所有 λ 一次完成",
  "Look, choose and keep": "看、选、存",
  "All λ in one picture": "所有 λ 在一张图里",
  "Demo models": "演示模型",
  "Picture": "图像",
  "Models": "模型",
  "Turn λ here": "在这里调 λ",
  "What the run did": "这次运行做了什么",
  "Models and λ": "模型与 λ",
  "Two runs of one seed": "同一个种子的两次运行",
  "Demo models and rewards": "演示模型与奖励",
  "Values of λ": "λ 的取值",
  "As a GUIDER": "作为 GUIDER",
  "As a MODEL": "作为 MODEL",
  "Its picture": "它的图像",
  "λ over the run": "整个运行中的 λ",
  "λ by the curve": "按曲线的 λ",
  "λ = 0.8 throughout": "全程 λ = 0.8",
  "Where the KL is spent": "KL 花在哪里",
  "Where λ acts": "λ 起作用的地方",
  "λ = 1.2 within the mask": "遮罩内 λ = 1.2",
  "λ = 1.2 everywhere": "处处 λ = 1.2",
  "An overdone anchor": "过头的锚点模型",
  "λ up to 1": "λ 到 1",
  "Pictures": "图像",
  "With the reward": "有奖励",
  "Without": "没有奖励",
  "As usual": "照常",
  "Corrected": "校正后",
  "The sampler's parts": "采样器的零件",
  "Model": "模型",
  "What is good": "什么算好",
  "Only watched": "只旁观",
  "Reference and λ": "参考模型与 λ",
  "Two anchors": "两个锚点模型",
  "Positive": "正面",
  "Negative": "负面",
  "Reference": "参考模型",
  "Save the grid": "保存网格图",
  "Save the pictures": "保存图像",
  "Trace: λ, σ, KL, model calls": "运行记录：λ、σ、KL、模型调用",
  "Held out: only watched": "留出：只旁观",
  "Anchor: Diffusion-DPO": "锚点模型：Diffusion-DPO",
  "Anchor: Flow-GRPO (LoRA)": "锚点模型：Flow-GRPO（LoRA）",
  "Anchor: SPO (LoRA)": "锚点模型：SPO（LoRA）",
  "Enlarge to look at": "放大来看",
  "Background: 0": "背景：0",
  "Subject: 1": "主体：1",
  "Soft edges": "柔化边缘",
  "2 × (anchor − reference)": "2 ×（锚点 − 参考）",
  "reference + that": "参考 + 它",
  "The over-optimised anchor": "优化过头的锚点模型",
  "Plain run": "普通运行",
  "PickScore": "PickScore",
  "Aesthetic score": "美学分",
  "Held out: HPS v2.1": "留出：HPS v2.1",
  "Half of each": "各占一半",
  "Your own taste as a reward": "把你自己的喜好当作奖励",
  "Press *Run*: sixteen pictures, as the model makes them.": "按*运行*：十六张图，模型本来画的样子。",
  "On *Pick*, press a picture and star it with S: the three or four that you like best.":
    "在*挑选*上按一张图，用 S 给它加星：你最喜欢的三四张。",
  "Press *Run* again. The next sixteen move towards them. Three or four rounds are plenty.":
    "再按*运行*。下一批十六张会朝它们移动。三四轮就够了。",
  "*Learned Taste* keeps what it knows under *name*, for tomorrow: another name starts anew. Nothing leaves your machine.":
    "*学习喜好*以*名称*保存学到的，明天接着用；换个名称就从头开始。没有任何东西离开你的电脑。",
  "Too much alike? Raise *strength*, or set *judge* to try new things too.": "太像了？调大*强度*，或把*判断*设为也试新的。",
  "What you like": "你喜欢什么",
  "Star the better ones": "给更好的加星",
  "Find the λ, no download needed": "找出 λ，无需下载",
  "Press *Run*: it makes a few pictures, looks where the best λ must be, and makes more there.": "按*运行*：先做几张图像，看最好的 λ 应该在哪里，再在那里多做几张。",
  "*λ Search* says the λ and how sure it is; the curve shows what it knows.": "*λ 搜索*说出 λ 和把握有多大；曲线显示它所知道的。",
  "Change *may_fall* or *kl_budget*, and run again: with a *name* it takes the pictures that are there.": "改*允许下降*或 *KL 预算*再运行：有*名称*时会用已有的图像。",
  "Wanted: the most colourful hearts whose brightness falls by no more than 25.": "想要：亮度下降不超过 25 的最鲜艳的心。",
  "To be largest": "要最大",
  "Must not fall much": "不能降太多",
  "What is known": "已知的",
  "The curve": "曲线",
};
