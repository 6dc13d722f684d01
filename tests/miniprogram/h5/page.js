// A page of another origin with the wx network API that Taro has written for browsers, and the library on it.

import * as taro from '@tarojs/taro-h5';
import { createGateway } from '../../../miniprogram/client/wx-gateway.mjs';

Object.assign(globalThis, { taro, createGateway });
