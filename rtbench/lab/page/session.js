export function recorded(run, prediction, view) { return {}; }
