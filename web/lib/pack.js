/** Which nodes are this pack's: by the folder that the page has its files from, whatever a user has called it. */

const folder = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/").pop().split("/")[0]);
const MODULE = `custom_nodes.${folder}`;

export const isOfPack = (node) => node?.constructor?.nodeData?.python_module === MODULE;
