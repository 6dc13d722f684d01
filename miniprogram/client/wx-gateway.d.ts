/*! wx-gateway-client 0.1.0, with centrifuge and events in it: MIT, see THIRD-PARTY.txt */
/**
 * Everything that a mini-program sees of this library. The reference is made from this file.
 */
/** JSON, as it goes over the wire. */
export type Json = null | boolean | number | string | Json[] | {
    [key: string]: Json;
};
/** wx style: what every method understands beside the promise that it returns. */
export interface Callbacks<T> {
    success?: (result: T) => void;
    /** With it, or with `complete`, a failure is told here, and the promise stays quiet about it. */
    fail?: (error: GatewayFailure) => void;
    complete?: (outcome: T | GatewayFailure) => void;
}
/** What every error of this library is. `message` says what to do. */
export interface GatewayFailure {
    /** Of the gateway's registry (100-1999), of a disconnect (3000-4999), or one of `LocalCode` (1-99). */
    code: number;
    /** What happened, and what to do about it. */
    message: string;
    /** Whether the same call may succeed later without a change. */
    temporary: boolean;
    /** As wx names it. */
    errMsg: string;
    /** What the server or WeChat said itself. */
    cause?: unknown;
}
/** Codes of failures that happen on the phone. */
export interface LocalCodes {
    /** No answer in time. */
    TIMEOUT: 1;
    /** The connection broke before the answer: the gateway may have done it, or not. */
    CONNECTION_LOST: 2;
    /** Not connected, and the call was not to wait. */
    OFFLINE: 3;
    /** Too much waits for the connection already. */
    QUEUE_FULL: 4;
    /** `wx.login` failed. */
    LOGIN: 5;
    /** The app called `disconnect()`, `unsubscribe()` or `abort()`. */
    ENDED: 6;
    /** The gateway cannot be reached, by socket or by HTTP: no network, or a domain that is not listed. */
    NETWORK: 7;
    /** This platform lacks what the call needs. */
    UNSUPPORTED: 8;
    /** A handler of the app threw. */
    HANDLER: 9;
    /** The user, or WeChat, said no. */
    REFUSED: 10;
}
/** Where the connection is. `background`: let go because the app is hidden; it comes back by itself. */
export type State = 'disconnected' | 'connecting' | 'connected' | 'background';
/** Settings of `createGateway`. Times in milliseconds. */
export interface Options {
    /** Of the socket: `wss://api.example.com`; `/connection/websocket` is added where there is no path. */
    url: string;
    /** Of sign-in and files. Default: the host of `url`, by https. */
    httpUrl?: string;
    /** Which mini-program this is, where the gateway serves several. */
    appid?: string;
    /** A token of your backend's instead of `wx.login`: H5, tools. Asked for again when it has expired. */
    getToken?: () => Promise<string> | string;
    /** Sent with every connect, for handlers of your backend. */
    data?: {
        [key: string]: Json;
    };
    /** Of your app, for logs and metrics of the gateway; up to 64 characters. */
    version?: string;
    /** Stands in for `wx`: `Taro`, `uni`, or a stand-in in tests. Default: the global `wx`. */
    wx?: Platform;
    /** Begins the keys in wx storage. Default: `wx-gateway`. */
    storageKey?: string;
    /** What becomes of `publish` and `rpc` without a connection: wait for it, or fail at once. Default: `queue`. */
    offline?: 'queue' | 'refuse';
    /** How many calls wait at most. Default: 100. */
    queueLimit?: number;
    /** How many bytes of them wait at most. Default: 256 KB. */
    queueBytes?: number;
    /** How long a call waits for the connection. Default: 60,000. */
    queueTimeout?: number;
    /** How long the socket stays after the app was hidden; WeChat cuts it after 5,000. Default: 3,000. */
    hideDelay?: number;
    /** For one answer, and for a socket to open. Default: 5,000. */
    timeout?: number;
    /** How long a connection may say nothing when asked whether it lives. Default: 3,000. */
    probeTimeout?: number;
    /** Silence beyond the gateway's ping interval after which a connection is dead. Default: 10,000. */
    pingDelay?: number;
    /** Reconnects wait at random between this … Default: 500. */
    minReconnectDelay?: number;
    /** … and at most this, longer after every failure. Default: 20,000. */
    maxReconnectDelay?: number;
    /** Larger files go up in pieces. Default: 10 MB, where one request of WeChat ends. */
    resumableFrom?: number;
    /** Bytes of a piece. Default: 1 MB. */
    pieceSize?: number;
    /** How often an HTTP request is tried. Default: 4. */
    attempts?: number;
    /** Tell the gateway when the app is hidden and shown. Default: false. */
    reportVisibility?: boolean;
    /** Acknowledge publications that carry `tags.ack`, after their handlers ran. Default: false. */
    acknowledge?: boolean;
    /** Every frame as it is, for tools; it holds tokens. */
    onTraffic?: (traffic: Traffic) => void;
}
/** One frame of the socket. */
export interface Traffic {
    direction: 'in' | 'out';
    /** As it went over the wire: one or more JSON objects, one a line. */
    text: string;
    /** Unix milliseconds. */
    time: number;
}
/** A place in a channel's history: where to go on. */
export interface Position {
    offset: number;
    epoch: string;
}
/** Who published, or is present. */
export interface ClientInfo {
    /** The connection. */
    client: string;
    /** The openid. */
    user: string;
    connInfo?: Json;
    chanInfo?: Json;
}
/** One message of a channel. */
export interface Publication<T = any> {
    channel: string;
    data: T;
    /** Its place in the history, in channels that have one. */
    offset?: number;
    /** Of the history that `offset` belongs to. */
    epoch?: string;
    /** Missed while away, and brought after the reconnect. */
    recovered: boolean;
    /** Of the client that published; absent where the backend did. */
    info?: ClientInfo;
    tags?: {
        [key: string]: string;
    };
}
/** A subscription has begun, for the first time or again. */
export interface Subscribed {
    channel: string;
    /** Whether something may have been missed: it was there before, or began at a position. */
    wasRecovering: boolean;
    /** Whether it got all that was missed. */
    recovered: boolean;
    position?: Position;
    data?: Json;
}
/** A subscription has ended for good. */
export interface Unsubscribed {
    channel: string;
    code: number;
    reason: string;
}
/** Someone came or left. */
export interface Presence {
    channel: string;
    info: ClientInfo;
}
/** What `subscribe` calls. An exception in a handler is told to `error` and stops nothing. */
export interface Handlers<T = any> {
    publication?: (publication: Publication<T>) => void | Promise<void>;
    subscribed?: (context: Subscribed) => void;
    /** Messages may be missing: away too long, or the channel keeps no recoverable history. Load your state anew. */
    gap?: (context: Subscribed) => void;
    unsubscribed?: (context: Unsubscribed) => void;
    join?: (context: Presence) => void;
    leave?: (context: Presence) => void;
    error?: (error: GatewayFailure) => void;
}
/** Settings of `subscribe`. */
export interface SubscribeOptions {
    /** Where to go on: what your app has kept. */
    since?: Position | null;
    /** Keep the position in wx storage, so that an app that was killed goes on where it was. What was published
     *  in the last second before may come a second time. */
    keep?: boolean;
    /** For handlers of your backend. */
    data?: Json;
    /** For channels that need one. */
    token?: string;
}
/** One listener of a channel. Pages may each have their own: the channel is subscribed to once. */
export interface Subscription {
    readonly channel: string;
    /** Where this phone is in the channel's history. */
    readonly position: Position | null;
    /** Resolved once subscribed; rejected where the gateway refuses. */
    ready(): Promise<Subscribed>;
    publish(data: Json): Promise<void>;
    presence(): Promise<{
        [client: string]: ClientInfo;
    }>;
    history(options?: HistoryOptions): Promise<History>;
    /** This listener hears nothing more; the last one of a channel ends the subscription. */
    unsubscribe(): void;
}
/** Which part of a history. */
export interface HistoryOptions {
    /** How many at most; 0 for the position alone. */
    limit?: number;
    since?: Position;
    /** The newest first. */
    reverse?: boolean;
}
/** A part of a history, and where its end is. */
export interface History extends Position {
    publications: Publication[];
}
/** Signed in, and there. */
export interface Connected {
    /** This connection. */
    client: string;
    /** The user; known from the first sign-in on. */
    openid?: string;
    unionid?: string;
    data?: {
        [key: string]: Json;
    };
}
/** Why the connection is gone, or not yet there. */
export interface Disconnected {
    code: number;
    reason: string;
}
/** What `on` and `off` know. */
export interface Events {
    state: (change: {
        state: State;
        previous: State;
    }) => void;
    connecting: (context: Disconnected) => void;
    connected: (context: Connected) => void;
    /** For good: the app said so, or `error.message` says what to do. Otherwise the library comes back by itself. */
    disconnected: (error: GatewayFailure) => void;
    /** What went wrong on the way; the library goes on by itself. */
    error: (error: GatewayFailure) => void;
    /** Of channels that the gateway subscribed this user to; the personal channel is one. */
    publication: (publication: Publication) => void;
    subscribed: (context: Subscribed) => void;
    /** Away too long for a channel of the gateway's choosing: load your state anew. */
    gap: (context: Subscribed) => void;
    unsubscribed: (context: {
        channel: string;
    }) => void;
    join: (context: Presence) => void;
    leave: (context: Presence) => void;
    /** For this connection alone. */
    message: (context: {
        data: any;
    }) => void;
    traffic: (traffic: Traffic) => void;
}
/** How one call waits; see `Options.offline`. */
export interface CallOptions {
    offline?: 'queue' | 'refuse';
}
/** A file that the gateway keeps. */
export interface StoredFile {
    id: string;
    /** With its host, for `<image src>` where everybody with the link may see it, and for `download`. */
    url: string;
    size: number;
    sha256: string;
    type: string;
    name: string;
    width?: number;
    height?: number;
    /** Unix seconds. */
    expires?: number;
}
/** How far a transfer is. */
export interface Progress {
    /** 0 to 100. */
    progress: number;
    sent: number;
    total: number;
}
/** Settings of `upload`. */
export interface UploadOptions extends Callbacks<StoredFile> {
    filePath: string;
    /** Publish the file there. */
    channel?: string;
    /** Who may read it. Default: with `channel` who may subscribe to that; else the gateway's own. */
    visibility?: 'owner' | 'signed_in' | 'channel' | 'link';
    /** Instead of the file's own name. */
    name?: string;
    /** Seconds, or `7d`. */
    expiresIn?: string | number;
    /** Other fields of the form, for handlers of your backend. */
    formData?: {
        [key: string]: string;
    };
    onProgress?: (progress: Progress) => void;
}
/** Settings of `download`. */
export interface DownloadOptions extends Callbacks<Downloaded> {
    /** Of a file, or its url. */
    url?: string;
    id?: string;
    /** Where to put it. Default: a temporary file. */
    filePath?: string;
    /** A smaller picture of this width. */
    width?: number;
    onProgress?: (progress: Progress) => void;
}
/** A file on the phone. */
export interface Downloaded {
    /** `filePath` where that was given. */
    tempFilePath: string;
    filePath?: string;
    statusCode: number;
}
/** A transfer on its way. */
export interface Transfer<T> extends Promise<T> {
    abort(): void;
}
/** What `wx.getUserInfo` and its kind give. */
export interface EncryptedData {
    rawData: string;
    signature: string;
    encryptedData?: string;
    iv?: string;
}
/** What the gateway found in it. */
export interface UserInfo {
    openid: string;
    raw?: {
        [key: string]: Json;
    };
    data?: {
        [key: string]: Json;
    };
    watermark_age?: number;
}
/** As WeChat names it. */
export interface PhoneNumber {
    phoneNumber: string;
    purePhoneNumber: string;
    countryCode: string;
}
/** What the user said to a request for subscribe messages, by template. */
export type Granted = {
    [templateId: string]: 'accept' | 'reject' | 'ban' | 'filter';
};
/** Everything, for one gateway. Make one, in `app.js`, for all pages. */
export interface Gateway {
    readonly state: State;
    /** The user; after the first sign-in also before the connection is there. */
    readonly openid: string | undefined;
    /** How many calls wait for the connection. */
    readonly waiting: number;
    /** Sign in and connect; from then on the library comes back by itself. Resolved once connected. */
    connect(callbacks?: Callbacks<Connected>): Promise<Connected>;
    /** Let go. The token stays for next time. */
    disconnect(): void;
    on<E extends keyof Events>(event: E, listener: Events[E]): void;
    /** Without a listener: all of them. */
    off<E extends keyof Events>(event: E, listener?: Events[E]): void;
    /** Listen to a channel, now and after every reconnect. A function stands for `{ publication }`. */
    subscribe<T = any>(channel: string, handlers: Handlers<T> | ((publication: Publication<T>) => void), options?: SubscribeOptions): Subscription;
    /** Listen to the user's own channel, which the gateway has subscribed to already. */
    personal<T = any>(handlers: Handlers<T> | ((publication: Publication<T>) => void), options?: Pick<SubscribeOptions, 'since' | 'keep'>): Subscription;
    publish(channel: string, data: Json, options?: CallOptions): Promise<void>;
    publish(options: {
        channel: string;
        data: Json;
    } & CallOptions & Callbacks<void>): Promise<void>;
    /** Ask a handler of your backend. */
    rpc<T = any>(method: string, data?: Json, options?: CallOptions): Promise<T>;
    rpc<T = any>(options: {
        method: string;
        data?: Json;
    } & CallOptions & Callbacks<T>): Promise<T>;
    /** Who is in a channel, by connection. */
    presence(channel: string): Promise<{
        [client: string]: ClientInfo;
    }>;
    presence(options: {
        channel: string;
    } & Callbacks<{
        [client: string]: ClientInfo;
    }>): Promise<{
        [client: string]: ClientInfo;
    }>;
    /** How many are in a channel. */
    presenceStats(channel: string): Promise<{
        numClients: number;
        numUsers: number;
    }>;
    history(channel: string, options?: HistoryOptions): Promise<History>;
    history(options: {
        channel: string;
    } & HistoryOptions & Callbacks<History>): Promise<History>;
    /** Send a file; above 10 MB in pieces, which go on where they were after a failure, on another day too. */
    upload(options: UploadOptions): Transfer<StoredFile>;
    download(options: DownloadOptions): Transfer<Downloaded>;
    /** A url of a file that works without a token, for `<image src>`; for an hour unless told otherwise. */
    link(id: string, expiresIn?: string | number): Promise<string>;
    /** Let the gateway check and decrypt; the session key never leaves it. */
    decrypt(options: EncryptedData & Callbacks<UserInfo>): Promise<UserInfo>;
    /** The same with everything around it: `wx.checkSession`, a new sign-in where it is due, and `fetch` after that.
     *  `fetch` is `wx.getUserInfo` unless given, and is called once more where the key was stale. */
    openData(fetch?: () => Promise<EncryptedData>): Promise<UserInfo>;
    /** The number behind the button: give it the `code` of the event. */
    getPhoneNumber(options: ({
        code: string;
    } | {
        detail: {
            code?: string;
            errMsg?: string;
        };
    }) & Callbacks<PhoneNumber>): Promise<PhoneNumber>;
    /** `wx.requestSubscribeMessage`, and the answer told to the gateway. Call it from a tap. */
    requestSubscribeMessage(templateIds: string[] | ({
        tmplIds: string[];
    } & Callbacks<Granted>)): Promise<Granted>;
    /** A token that is good now, for requests to your own backend; signs in where it has to. */
    token(): Promise<string>;
    /** End the session on the gateway, forget the token, let go. */
    signOut(callbacks?: Callbacks<void>): Promise<void>;
}
/** The part of `wx` that is used. `Taro` and `uni` have it too. */
export interface Platform {
    connectSocket(options: any): any;
    request?(options: any): any;
    uploadFile?(options: any): any;
    downloadFile?(options: any): any;
    login?(options: any): any;
    checkSession?(options: any): any;
    getUserInfo?(options: any): any;
    requestSubscribeMessage?(options: any): any;
    getStorageSync?(key: string): any;
    setStorageSync?(key: string, value: any): void;
    removeStorageSync?(key: string): void;
    getFileSystemManager?(): any;
    onAppShow?(listener: (event: any) => void): void;
    onAppHide?(listener: (event: any) => void): void;
    onNetworkStatusChange?(listener: (event: any) => void): void;
    onSocketClose?(listener: (event: any) => void): void;
}

/** Codes of failures that happen on the phone. */
export declare const LocalCode: LocalCodes;
/** See `GatewayFailure`. */
export declare class GatewayError extends Error implements GatewayFailure {
    code: number;
    temporary: boolean;
    errMsg: string;
    cause?: unknown;
    constructor(code: number, text: string, cause?: unknown, temporary?: boolean);
}

/** A gateway for one mini-program. Nothing happens until `connect()`, or the first upload. */
export declare function createGateway(options: Options): Gateway;
export default createGateway;
