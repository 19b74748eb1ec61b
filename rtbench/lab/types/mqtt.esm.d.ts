export * from "mqtt";
export { default } from "mqtt";
